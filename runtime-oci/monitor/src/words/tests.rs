use std::io::Write;

use super::*;

#[test]
fn errors_of_a_json_log_are_told_without_their_wrapping() {
    let said = br#"{"level":"warning","msg":"odd","time":"t"}
{"level":"error","msg":"exec: \"/nope\": no such file\n","time":"t"}
"#;
    assert_eq!(readable(said), r#"exec: "/nope": no such file"#);
}

#[test]
fn plain_text_is_told_as_it_is() {
    assert_eq!(readable(b"  first\n\nsecond  \nsecond\n"), "first; second");
    assert_eq!(readable(b""), "");
}

#[test]
fn what_an_earlier_run_said_is_not_told_again() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    writeln!(file, "old").expect("write");
    let log = RuntimeLog::new(file.path());
    assert_eq!(log.words(), "");
    writeln!(file, "new").expect("write");
    assert_eq!(log.words(), "new");
    log.remove();
    assert_eq!(log.words(), "");
}
