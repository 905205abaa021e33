use std::os::unix::fs::PermissionsExt;

use super::*;

const NOW: i64 = 0;
const PREFIX: &str = "1970-01-01T00:00:00.000000000Z stdout F ";

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).expect("log file").replace(PREFIX, "")
}

#[test]
fn the_file_and_its_directory_are_made_with_their_modes() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pod/container/0.log");
    let mut log = Log::open(Some(&path), 100).expect("open");
    log.write(Stream::Stdout, NOW, b"a\n");
    assert_eq!(text_of(&path), "a\n");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().expect("parent")), 0o700);
    assert_eq!(mode(&path) & 0o137, 0, "0640 less the umask");
    log.discard();
    assert!(!path.exists(), "a file that we made goes with a failed create");
}

#[test]
fn a_file_that_was_there_is_appended_to_and_kept() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    fs::write(&path, "before\n").expect("write");
    let mut log = Log::open(Some(&path), 100).expect("open");
    log.write(Stream::Stdout, NOW, b"after\n");
    log.discard();
    assert_eq!(text_of(&path), "before\nafter\n");
}

#[test]
fn a_dangling_link_is_replaced_and_what_is_no_file_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).expect("symlink");
    Log::open(Some(&path), 100).expect("open");
    assert!(fs::symlink_metadata(&path).expect("there").is_file());
    for path in [Path::new("/dev/null"), dir.path()] {
        assert!(Log::open(Some(path), 100).is_err(), "{path:?}");
    }
}

#[test]
fn after_a_reopen_the_rotated_file_gets_nothing_more_and_a_begun_line_is_kept() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (path, rotated) = (dir.path().join("0.log"), dir.path().join("0.log.1"));
    let mut log = Log::open(Some(&path), 100).expect("open");
    log.write(Stream::Stdout, NOW, b"one\ntw");
    fs::rename(&path, &rotated).expect("rename");
    log.reopen().expect("reopen");
    assert!(path.exists());
    log.write(Stream::Stdout, NOW, b"o\n");
    assert_eq!(text_of(&rotated), "one\n");
    assert_eq!(text_of(&path), "two\n");
}

#[test]
fn a_read_full_of_newlines_is_written_whole() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    let mut log = Log::open(Some(&path), 100).expect("open");
    log.write(Stream::Stdout, NOW, &[b'\n'; 70_000]);
    assert_eq!(fs::read_to_string(&path).expect("log").lines().count(), 70_000);
}

#[test]
fn a_full_disk_drops_and_counts_and_the_log_goes_on_with_a_whole_line() {
    let mut log = Log::open(None, 100).expect("open");
    log.file = Some(OpenOptions::new().write(true).open("/dev/full").expect("/dev/full"));
    log.write(Stream::Stdout, NOW, b"lost\n");
    assert_eq!(log.dropped_bytes(), (PREFIX.len() + 5) as u64);
    // As after a write that was cut short.
    log.torn = true;
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    log.file = Some(File::create(&path).expect("file"));
    log.write(Stream::Stdout, NOW, b"kept\n");
    assert_eq!(text_of(&path), "\nkept\n");
}
