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
