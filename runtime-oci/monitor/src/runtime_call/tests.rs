use std::io::Read;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;

/// What it left is reaped soon after it, and its PID may be anybody's then.
#[test]
fn the_pid_file_of_a_failed_runtime_is_not_read_again_when_that_is_reaped() {
    let dir = tempfile::tempdir().expect("a folder");
    let (pid_file, log) = (dir.path().join("pid"), dir.path().join("log"));
    let mut left = Command::new("sleep").arg("1000").spawn().expect("what it left");
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("a stranger");
    let told = format!("echo {} >pid; exit 1", left.id());
    let spec = RuntimeSpec {
        command: &["/bin/sh".into(), "-c".into(), told.as_str().into()],
        cwd: dir.path(),
        pid_file: &pid_file,
        runtime_log: &log,
        console_socket: None,
        deadline: Duration::from_secs(20),
        oom_score_adj: None,
    };
    let poll = Poll::new().expect("a poll");
    let mut call = RuntimeCall::start(&spec, RuntimeStdio::default(), &poll, 1).expect("a runtime");
    poll.wait(None).expect("its end");
    assert_eq!(call.reap(), Some(1));

    let mut killing = Killing::new(call.tree(), Instant::now());
    killing.pass_after(&call, Instant::now());
    left.wait().expect("what it left is dead");
    fs::write(&pid_file, stranger.id().to_string()).expect("the PID is a stranger's");
    assert!(killing.pass_after(&call, Instant::now()), "all of it is dead");

    let end = stranger.try_wait().expect("looking at the stranger");
    let _ = stranger.kill();
    let _ = stranger.wait();
    assert_eq!(end, None, "the stranger was killed");
}

#[test]
fn a_runtime_that_cannot_be_watched_is_dead_and_reaped() {
    let dir = tempfile::tempdir().expect("a folder");
    let spec = RuntimeSpec {
        command: &["/bin/sleep".into(), "1000".into()],
        cwd: dir.path(),
        pid_file: &dir.path().join("pid"),
        runtime_log: &dir.path().join("log"),
        console_socket: None,
        deadline: Duration::from_secs(20),
        oom_score_adj: None,
    };
    let (mut held, theirs) = io::pipe().expect("a pipe");
    let stdio = RuntimeStdio { stdout: Some(theirs.into()), ..RuntimeStdio::default() };
    let failed = RuntimeCall::start(&spec, stdio, &Poll::full(), 1).err().expect("it cannot be watched");

    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    let ends = rustix::event::poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&limit)).expect("poll");
    assert_eq!(ends, 1, "it runs on");
    assert_eq!(held.read(&mut [0]).expect("its end"), 0);
    let words = failed.message.strip_prefix("watching the runtime, PID ").expect("the stage");
    let pid: i32 = words.split(':').next().unwrap_or_default().parse().expect("a PID");
    assert!(Process::of(pid).is_err(), "it was not reaped");
}
