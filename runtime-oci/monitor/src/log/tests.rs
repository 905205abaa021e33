use std::fs;

use super::*;
use crate::poll::Poll;

const KEY: Key = 7;

/// Waits for what the writer tells next.
fn told(poll: &Poll, writer: &mut Writer) -> Told {
    loop {
        if let Some(told) = writer.take().into_iter().next() {
            return told;
        }
        poll.wait(None).expect("wait");
    }
}

fn open(path: &Path) -> (Poll, Writer, Log) {
    let poll = Poll::new().expect("epoll");
    let mut writer = Writer::new(&poll).expect("a writer");
    let log = Log::open(&mut writer, KEY, Some(path), 100).expect("open");
    let opened = told(&poll, &mut writer);
    assert!(matches!(opened, Told::Opened { key: KEY, outcome: Ok(()) }));
    (poll, writer, log)
}

#[test]
fn a_read_full_of_newlines_is_written_whole_before_the_mark() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("0.log");
    let (poll, mut writer, mut log) = open(&path);
    log.write(Stream::Stdout, 0, &[b'\n'; 70_000]);
    log.write(Stream::Stdout, 0, b"begun");
    log.finish(0);
    assert!(log.mark(&writer));
    loop {
        if matches!(told(&poll, &mut writer), Told::Written { key: KEY }) {
            break;
        }
    }
    let text = fs::read_to_string(&path).expect("log");
    assert_eq!(text.lines().count(), 70_001);
    assert!(text.ends_with(" stdout P begun\n"));
}

#[test]
fn a_full_queue_is_told_of_when_there_is_room_again() {
    let counts = Counts::default();
    counts.add(256 * 1024 - 1);
    assert!(!counts.are_full());
    counts.add(1);
    assert!(counts.are_full());
    assert!(!counts.written(64 * 1024, 0), "more than half of it waits");
    assert!(!counts.are_full(), "and yet there is room for a read");
    assert!(counts.written(64 * 1024, 10), "who found it full is told");
    assert!(!counts.written(64 * 1024, 0), "once");
    assert_eq!(counts.dropped(), 10);
}

#[test]
fn without_a_path_there_is_no_thread_and_nothing_to_wait_for() {
    let poll = Poll::new().expect("epoll");
    let mut writer = Writer::new(&poll).expect("a writer");
    let mut log = Log::open(&mut writer, KEY, None, 100).expect("open");
    log.write(Stream::Stdout, 0, b"dropped\n");
    assert!(!log.is_kept() && !log.is_full() && !log.mark(&writer));
}
