use std::process::Command;

use super::*;

#[test]
fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
    let text = b"42 (a) b (c)) S 7 42 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
    let stat = ProcessStat::parse(42, text).expect("parses");
    let expected =
        ProcessStat { pid: 42, state: 'S', parent: 7, session: 9, start_time: 987_654, exit_status: None };
    assert_eq!(stat, expected);
}

#[test]
fn this_process_is_alive_and_a_reused_pid_is_not_taken_for_it() {
    let this = Process::this().expect("/proc");
    assert!(this.is_alive());
    assert!(this.open_pidfd().is_some_and(|fd| !fd.has_ended()));
    let other = Process { start_time: this.start_time + 1, ..this };
    assert!(!other.is_alive());
    assert!(other.open_pidfd().is_none());
    other.signal(libc::SIGKILL).expect("nobody is signalled");
}

#[test]
fn every_signal_can_be_sent_and_nothing_else() {
    use std::os::unix::process::ExitStatusExt;
    for signal in [libc::SIGTERM, 34, 37, 64] {
        let mut child = Command::new("sleep").arg("1000").spawn().expect("spawn");
        let process = Process::of(child.id() as i32).expect("a child");
        process.signal(signal).expect("it is one");
        assert_eq!(child.wait().expect("wait").signal(), Some(signal));
        process.signal(signal).expect("gone is fine");
    }
    let this = Process::this().expect("/proc");
    assert!(this.signal(65).is_err() && this.signal(-1).is_err());
}

#[test]
fn how_a_process_ended_can_be_seen_until_its_parent_has_taken_notice() {
    for (script, code) in [("exit 7", 7), ("kill -KILL $$", 137), ("exit 0", 0)] {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read line; {script}")])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("spawn");
        let process = Process::of(child.id() as i32).expect("a child");
        assert_eq!(process.exit_code(), None, "it runs");
        let pidfd = process.open_pidfd().expect("it runs");
        drop(child.stdin.take());
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).expect("poll");
        assert_eq!(process.exit_code(), Some(code), "{script}");
        child.wait().expect("wait");
        assert_eq!(process.exit_code(), None, "nobody knows any more");
    }
}

#[test]
fn a_zombie_is_dead() {
    let mut child = Command::new("true").spawn().expect("spawn");
    let process = Process::of(child.id() as i32).expect("a child, alive or a zombie");
    let pidfd = process.open_pidfd().expect("not reaped yet");
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    poll(&mut fds, None).expect("poll");
    assert!(pidfd.has_ended());
    assert!(!process.is_alive());
    child.wait().expect("wait");
}
