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
