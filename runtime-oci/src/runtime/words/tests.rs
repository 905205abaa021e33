use super::*;

fn check(log: &str, stderr: &str, expected: &str) {
    assert_eq!(words(log, stderr), expected);
}

#[test]
fn the_log_speaks_before_stderr() {
    let json = r#"{"level":"error","msg":"unable to start container process: exec: \"nope\": not found","time":"x"}"#;
    check(json, "something else", "unable to start container process: exec: \"nope\": not found");
    check("", "", "it failed without a word");
}

#[test]
fn errors_count_more_than_warnings() {
    let log = "{\"level\":\"warning\",\"msg\":\"old kernel\"}\n{\"level\":\"error\",\"msg\":\"no space\"}\n";
    check(log, "", "no space");
    check("{\"level\":\"warning\",\"msg\":\"old kernel\"}", "", "old kernel");
    check("{\"level\":\"error\",\"msg\":\"twice\"}\n{\"level\":\"error\",\"msg\":\"twice\"}", "", "twice");
}

#[test]
fn text_logs_and_plain_lines_are_understood() {
    check(
        "",
        "time=\"2026-01-01T00:00:00Z\" level=error msg=\"exec: \\\"a\\\"\\nnot found\"\n",
        "exec: \"a\" not found",
    );
    check("", "level=error msg=short", "short");
    check(
        "2026-11-01T10:00:00Z: executable file `nope` not found",
        "",
        "2026-11-01T10:00:00Z: executable file `nope` not found",
    );
}

#[test]
fn long_words_are_cut_at_a_letter() {
    let text = words("", &"é".repeat(5000));
    assert!(text.len() <= MAX_BYTES + '…'.len_utf8() && text.ends_with('…'));
}

#[test]
fn each_runtime_says_in_its_way_that_a_container_is_unknown() {
    let means = |message: &str| means_no_such_container(message, "c1");
    assert!(means("container does not exist"));
    assert!(means("container \"c1\" does not exist"));
    assert!(means("error opening file `/run/x/c1/status`: No such file or directory"));
    assert!(means("Error: failed to load c1; container c1 does not exist."));
    assert!(!means("executable file `x` not found in $PATH: No such file or directory"));
    assert!(!means("error opening file `/run/x/c2/status`: No such file or directory"));
    assert!(!means("unable to delete container c1: hook /opt/h does not exist"));
    assert!(!means("the control group of container c1 does not exist"));
    assert!(!means("container c12 does not exist"));
}

#[test]
fn what_is_the_requests_fault_is_told_from_what_is_the_nodes() {
    let check = |message: &str, field: Option<&str>| assert_eq!(faulty_field(message), field, "{message}");
    let command = Some("config.command");
    check(r#"unable to start container process: exec: "nope": executable file not found in $PATH"#, command);
    check(r#"exec: "/nope": stat /nope: no such file or directory"#, command);
    check(r#"exec: "/etc/passwd": permission denied"#, command);
    check("executable file `nope` not found in $PATH: No such file or directory", command);
    check("the path `/etc/passwd` exists but it is not executable: Operation not permitted", command);
    let working_dir = Some("config.working_dir");
    check(r#"chdir to cwd ("/etc/passwd") set in config.json failed: not a directory"#, working_dir);
    check("error during container init: mkdir /etc/passwd: not a directory", working_dir);
    check("chdir to `/etc/passwd`: Not a directory", working_dir);
    check("error mounting \"/x\" to rootfs: no such file or directory", None);
    check("mkdir /run/x: permission denied", None);
    check(r#"error running prestart hook #0: exec: "h": executable file not found in $PATH"#, None);
    check("mount `proc` to `proc`: Operation not permitted", None);
}

proptest::proptest! {
    #[test]
    fn any_output_gives_a_short_message(log: String, stderr: String) {
        let text = words(&log, &stderr);
        proptest::prop_assert!(!text.is_empty() && text.len() <= MAX_BYTES + '…'.len_utf8());
    }

    #[test]
    fn what_logrus_quotes_is_unquoted(message in "[a-z\"\\\\ ]{1,40}[a-z]") {
        let quoted = message.replace('\\', "\\\\").replace('"', "\\\"");
        let line = format!("time=\"x\" level=error msg=\"{quoted}\"");
        proptest::prop_assert_eq!(words(&line, ""), message);
    }
}
