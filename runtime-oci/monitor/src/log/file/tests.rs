use std::os::unix::fs::PermissionsExt;

use super::super::{Formatter, Stream};
use super::*;

const NOW: i64 = 0;
const PREFIX: &str = "1970-01-01T00:00:00.000000000Z stdout F ";

/// As a container's output goes into its file.
struct Log {
    file: LogFile,
    formatter: Formatter,
}

impl Log {
    fn open(path: &Path, max_line_bytes: usize) -> io::Result<Self> {
        let file = LogFile::open(path.to_path_buf())?;
        Ok(Self { file, formatter: Formatter::new(max_line_bytes) })
    }

    fn write(&mut self, stream: Stream, now_ns: i64, data: &[u8]) -> usize {
        let mut batch = Vec::new();
        self.formatter.feed(stream, now_ns, data, &mut batch);
        self.file.append(&batch)
    }
}

fn text_of(path: &Path) -> String {
    fs::read_to_string(path).expect("log file").replace(PREFIX, "")
}

#[test]
fn the_file_and_its_directory_are_made_with_their_modes() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("pod/container/0.log");
    let mut log = Log::open(&path, 100).expect("open");
    log.write(Stream::Stdout, NOW, b"a\n");
    assert_eq!(text_of(&path), "a\n");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().expect("parent")), 0o700);
    assert_eq!(mode(&path) & 0o137, 0, "0640 less the umask");
    log.file.discard();
    assert!(!path.exists(), "a file that we made goes with a failed create");
}

#[test]
fn a_file_that_was_there_is_appended_to_and_kept() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    fs::write(&path, "before\n").expect("write");
    let mut log = Log::open(&path, 100).expect("open");
    log.write(Stream::Stdout, NOW, b"after\n");
    log.file.discard();
    assert_eq!(text_of(&path), "before\nafter\n");
}

#[test]
fn a_link_in_its_place_is_replaced_and_never_followed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    let secret = dir.path().join("secret");
    fs::write(&secret, "before").expect("write");
    for target in ["nowhere", "secret", "0.log", "/dev/null"] {
        std::os::unix::fs::symlink(target, &path).expect("symlink");
        let mut log = Log::open(&path, 100).expect("open");
        assert!(fs::symlink_metadata(&path).expect("there").is_file(), "{target}");
        log.write(Stream::Stdout, NOW, b"a\n");
        fs::remove_file(&path).expect("remove");
        std::os::unix::fs::symlink(target, &path).expect("symlink");
        log.file.reopen().expect("reopen");
        log.write(Stream::Stdout, NOW, b"b\n");
        assert_eq!(text_of(&path), "b\n", "{target}");
        fs::remove_file(&path).expect("remove");
    }
    assert_eq!(fs::read_to_string(&secret).expect("read"), "before");
}

#[test]
fn what_is_no_file_is_refused_without_being_opened() {
    use rustix::fs::{CWD, inotify, mknodat};
    let dir = tempfile::tempdir().expect("tempdir");
    let pipe = dir.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).expect("mknod");
    // With a reader, to write to it would not fail by itself.
    let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).expect("reader");
    let watch =
        inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).expect("inotify");
    for path in [pipe.as_path(), dir.path()] {
        inotify::add_watch(&watch, path, inotify::WatchFlags::OPEN).expect("watch");
    }
    let refused = |path: &Path| Log::open(path, 100).err().expect("refused").to_string();
    for path in [pipe.as_path(), dir.path()] {
        assert!(refused(path).ends_with("not a regular file"), "{path:?}");
        let opened = rustix::io::read(&watch, &mut [0; 256][..]);
        assert_eq!(opened, Err(rustix::io::Errno::AGAIN), "{path:?} was opened");
    }
    assert!(refused(Path::new("/dev/null")).ends_with("not a regular file"));
}

#[test]
fn after_a_reopen_the_rotated_file_gets_nothing_more_and_a_begun_line_is_kept() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (path, rotated) = (dir.path().join("0.log"), dir.path().join("0.log.1"));
    let mut log = Log::open(&path, 100).expect("open");
    log.write(Stream::Stdout, NOW, b"one\ntw");
    fs::rename(&path, &rotated).expect("rename");
    log.file.reopen().expect("reopen");
    assert!(path.exists());
    log.write(Stream::Stdout, NOW, b"o\n");
    assert_eq!(text_of(&rotated), "one\n");
    assert_eq!(text_of(&path), "two\n");
}

#[test]
fn a_full_disk_drops_and_counts_and_the_log_goes_on_with_a_whole_line() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    let mut log = Log::open(&path, 100).expect("open");
    log.file.file = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    assert_eq!(log.write(Stream::Stdout, NOW, b"lost\n"), PREFIX.len() + 5);
    // As after a write that was cut short.
    log.file.torn = true;
    log.file.file = File::create(&path).expect("file");
    assert_eq!(log.write(Stream::Stdout, NOW, b"kept\n"), 0);
    assert_eq!(text_of(&path), "\nkept\n");
}
