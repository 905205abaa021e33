use super::*;

fn check(status: &Status, version: Version, expected: &str) {
    assert_eq!(String::from_utf8(status.render(version)).unwrap(), expected, "{status:?} {version:?}");
}

#[test]
fn before_the_fourth_version_only_errors_are_told_as_text() {
    for version in [Version::V1, Version::V2, Version::V3] {
        check(&Status::Success, version, "");
        check(&Status::ExitCode(3), version, "command terminated with non-zero exit code: exit status 3");
        check(&Status::Failed("no such file".into()), version, "Internal error occurred: no such file");
    }
}

#[test]
fn from_the_fourth_version_on_every_end_is_a_status() {
    for version in [Version::V4, Version::V5] {
        check(&Status::Success, version, r#"{"status":"Success"}"#);
        check(
            &Status::ExitCode(3),
            version,
            r#"{"status":"Failure","message":"command terminated with non-zero exit code: exit status 3","reason":"NonZeroExitCode","details":{"causes":[{"message":"3","reason":"ExitCode"}]}}"#,
        );
        check(
            &Status::Failed("no \"such\" file".into()),
            version,
            r#"{"status":"Failure","message":"Internal error occurred: no \"such\" file","reason":"InternalError","code":500}"#,
        );
    }
}

#[test]
fn a_failure_is_never_told_as_exit_code_0() {
    for (code, told) in [(1, 1), (137, 137), (255, 255), (256, 255), (-1, 255), (-256, 255)] {
        assert_eq!(exit_byte(code), told, "{code}");
    }
    assert_eq!(Status::of_exit_code(0), Status::Success);
    assert_eq!(Status::of_exit_code(130), Status::ExitCode(130));
}
