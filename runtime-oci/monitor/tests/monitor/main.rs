//! The real monitor with a scripted runtime. Needs no root.

mod attach;
mod hang_up;
mod harness;
mod log_disk;
mod with_runc;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Instant;

use harness::{Daemon, wait_until};
use linkspan_monitor::protocol::{
    self, Answer, Call, CreateCall, Event, FailureKind, HelloCall, Process, ProcessStat,
};

fn read_all(mut file: fs::File) -> String {
    let mut text = String::new();
    file.read_to_string(&mut text).expect("the pipe ends");
    text
}

/// Everything whose parent is this process.
fn children_of(pid: i32) -> Vec<ProcessStat> {
    let pids = fs::read_dir("/proc").expect("/proc");
    let pids = pids.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| ProcessStat::read(pid).ok()).filter(|stat| stat.parent == pid).collect()
}

/// How many descriptors a process has open.
fn descriptors_of(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("fds").count()
}

/// Waits until the monitor sleeps, and sleeps on: a loop that is told the same thing again and again would run.
fn wait_until_idle(daemon: &Daemon) {
    let is_asleep = || ProcessStat::read(daemon.monitor_pid()).is_ok_and(|stat| stat.state == 'S');
    let mut looks = 0;
    wait_until("the monitor is idle", || {
        looks = if is_asleep() { looks + 1 } else { 0 };
        looks == 20
    });
}

#[test]
fn a_container_writes_its_log_and_its_exit_is_on_disk_before_it_is_told() {
    let mut daemon = Daemon::start();
    let process = daemon.run("a", "echo out; echo err >&2; printf tail; exit 3");
    let exit = daemon.exit_of("a");
    assert_eq!((exit.code, exit.pid, exit.oom_killed), (3, process.pid, false));
    assert_eq!(protocol::read_exit(daemon.pod_dir(), "a").expect("record"), Some(exit));
    let mut lines: Vec<String> = daemon.log("a").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["stderr F err", "stdout F out", "stdout P tail"]);
}

#[test]
fn the_log_file_is_there_when_create_returns_and_the_container_does_not_run_yet() {
    let mut daemon = Daemon::start();
    let process = daemon.create(daemon.create_call("a", "echo ran")).expect("create");
    assert_eq!(daemon.log("a"), "");
    assert!(process.is_alive());
    daemon.start_container("a");
    assert_eq!(daemon.exit_of("a").code, 0);
    assert_eq!(daemon.log("a"), "stdout F ran\n");
}

#[test]
fn a_signal_is_told_as_128_and_its_number() {
    let mut daemon = Daemon::start();
    for (id, signal, code) in [("term", libc::SIGTERM, 143), ("kill", libc::SIGKILL, 137)] {
        daemon.run(id, "exec sleep 1000").signal(signal).expect("signal");
        let exit = daemon.exit_of(id);
        assert_eq!((exit.code, exit.oom_killed), (code, false));
    }
}

/// What `runtime delete --force` and a Forget right behind it are to a monitor that was busy meanwhile.
#[test]
fn a_container_that_is_dead_already_can_be_forgotten_before_its_exit_was_told() {
    let mut daemon = Daemon::start();
    let process = daemon.run("a", "exec sleep 1000");
    let monitor = Process::of(daemon.monitor_pid()).expect("the monitor");
    let is_in = |pid: i32, state: char| ProcessStat::read(pid).is_ok_and(|stat| stat.state == state);
    monitor.signal(libc::SIGSTOP).expect("stop");
    wait_until("the monitor has stopped", || is_in(monitor.pid, 'T'));
    process.signal(libc::SIGKILL).expect("kill");
    wait_until("the container is dead", || is_in(process.pid, 'Z'));
    let id = daemon.send(Call::Forget { container_id: "a".into() }, &[]);
    monitor.signal(libc::SIGCONT).expect("go on");
    assert_eq!(daemon.answer(id), Ok(Answer::Done));
    assert!(daemon.hello().containers.is_empty());
    assert_eq!(protocol::read_exit(daemon.pod_dir(), "a").expect("no record"), None);
}

/// A daemon that died in the middle must not keep the next one waiting for a runtime that hangs.
#[test]
fn a_create_that_is_to_be_forgotten_is_given_up_at_once() {
    let mut daemon = Daemon::start();
    let mut call = daemon.create_call("a", "");
    let alive = daemon.fifo("alive");
    let script = r#"exec 8> "$0"; setsid sleep 1000 & sleep 1000"#;
    call.command = vec!["/bin/sh".into(), "-c".into(), script.into(), alive.clone().into()];
    call.deadline_ms = 1_000_000;
    let create = daemon.send(Call::Create(call), &[]);
    let held = fs::File::open(&alive).expect("the runtime opens it");
    let forget = |daemon: &mut Daemon| daemon.call(Call::Forget { container_id: "a".into() });
    wait_until("it is forgotten", || forget(&mut daemon) == Ok(Answer::Done));
    assert_eq!(read_all(held), "");
    daemon.answer(create).expect_err("given up");
    assert!(daemon.hello().containers.is_empty() && !daemon.log_path("a").exists());
}

#[test]
fn a_refused_create_tells_the_runtimes_words_and_leaves_nothing() {
    let mut daemon = Daemon::start();
    let mut call = daemon.create_call("log", "");
    let log = call.runtime_log.as_path().to_path_buf();
    let script = r#"echo '{"level":"error","msg":"exec: no such file"}' > "$0"; exit 4"#;
    call.command = vec!["/bin/sh".into(), "-c".into(), script.into(), log.clone().into()];
    let failure = daemon.create(call).expect_err("refused");
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Runtime, "exec: no such file (exit code 4)")
    );
    assert!(!daemon.log_path("log").exists() && !log.exists());

    let mut call = daemon.create_call("stderr", "");
    call.command = vec!["/bin/sh".into(), "-c".into(), "echo odd; echo bad >&2; exit 1".into()];
    let failure = daemon.create(call).expect_err("refused");
    assert!(failure.message.contains("bad"), "{}", failure.message);

    let mut call = daemon.create_call("missing", "");
    call.command = vec!["/nowhere/runtime".into()];
    let failure = daemon.create(call).expect_err("missing");
    assert_eq!(failure.kind, FailureKind::RuntimeMissing);
    assert!(failure.message.contains("/nowhere/runtime"), "{}", failure.message);
    assert!(!daemon.log_path("missing").exists());

    let mut call = daemon.create_call("no-pid", "");
    call.command = vec!["/bin/true".into()];
    let failure = daemon.create(call).expect_err("no PID file");
    assert!(failure.message.contains("PID file"), "{}", failure.message);
    assert!(daemon.hello().containers.is_empty());
    daemon.create(daemon.create_call("log", "")).expect("the ID is free again");
}

#[test]
fn a_create_past_its_deadline_is_killed_with_all_that_it_left() {
    let mut daemon = Daemon::start();
    let mut call = daemon.create_call("a", "");
    // All of it inherits the FIFO's writing end, which ends when the last one is dead.
    let alive = daemon.fifo("alive");
    let script = r#"exec 8> "$0"; setsid sh -c 'sleep 1000 & sleep 1000' & echo waiting >&2; sleep 1000"#;
    call.command = vec!["/bin/sh".into(), "-c".into(), script.into(), alive.clone().into()];
    call.deadline_ms = 300;
    let id = daemon.send(Call::Create(call), &[]);
    let held = fs::File::open(&alive).expect("the runtime opens it");
    let failure = daemon.answer(id).expect_err("too late");
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(failure.message.contains("waiting"), "{}", failure.message);
    assert_eq!(read_all(held), "");
    assert!(!daemon.log_path("a").exists());
    let monitor = daemon.monitor_pid();
    wait_until("all are reaped", || children_of(monitor).is_empty());
}

#[test]
fn a_talkative_runtime_does_not_block_and_its_words_are_not_the_containers() {
    let mut daemon = Daemon::start();
    let mut call = daemon.create_call("a", "");
    let fake = daemon.fake("create", "echo mine", call.pid_file.as_path());
    let script = r#"yes | head -c 1000000; yes | head -c 1000000 >&2; exec "$@""#;
    call.command = ["/bin/sh", "-c", script, "sh"].map(Into::into).into_iter().chain(fake).collect();
    daemon.create(call).expect("create");
    daemon.start_container("a");
    daemon.exit_of("a");
    assert_eq!(daemon.log("a"), "stdout F mine\n");
}

#[test]
fn what_a_restored_container_writes_before_its_runtime_ends_is_in_its_log_and_in_no_error() {
    let mut daemon = Daemon::start();
    let restore = |daemon: &Daemon, id: &str, end: &str| {
        let mut call = daemon.create_call(id, "echo later");
        let fake = daemon.fake("create", "echo later", call.pid_file.as_path());
        let script = format!("echo early; echo early >&2; {end}");
        call.command = ["/bin/sh", "-c", &script, "sh"].map(Into::into).into_iter().chain(fake).collect();
        call.restores = true;
        call
    };
    daemon.create(restore(&daemon, "a", "exec \"$@\"")).expect("restore");
    daemon.start_container("a");
    daemon.exit_of("a");
    let mut lines: Vec<String> = daemon.log("a").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["stderr F early", "stdout F early", "stdout F later"]);

    let failure = daemon.create(restore(&daemon, "b", "exit 7")).expect_err("refused");
    assert_eq!(failure.message, "it said nothing (exit code 7)");
    let words = r#"echo '{"level":"error","msg":"no criu"}' > runtime.log; exit 7"#;
    let failure = daemon.create(restore(&daemon, "c", words)).expect_err("refused");
    assert_eq!(failure.message, "no criu (exit code 7)");
}

#[test]
fn much_output_arrives_whole_and_long_lines_are_split() {
    let mut daemon = Daemon::start_with(&["--max-log-line-bytes", "100"]);
    daemon.run("a", "seq 1 100000; printf '%0250d\\n' 7");
    daemon.exit_of("a");
    let log = daemon.log("a");
    let mut expected: String = (1..=100_000).map(|i| format!("stdout F {i}\n")).collect();
    let zeros = "0".repeat(100);
    expected.push_str(&format!("stdout P {zeros}\nstdout P {zeros}\nstdout F {}7\n", "0".repeat(49)));
    assert!(log == expected, "{} bytes, {} expected", log.len(), expected.len());
}

#[test]
fn a_reopened_log_gets_all_that_comes_after() {
    let mut daemon = Daemon::start();
    let more = daemon.fifo("a/more");
    daemon.run("a", "echo one; read -r line < more; echo two");
    wait_until("the container waits", || daemon.log("a") == "stdout F one\n");
    let rotated = daemon.log_path("a").with_extension("1");
    fs::rename(daemon.log_path("a"), &rotated).expect("rename");
    assert_eq!(daemon.call(Call::ReopenLog { container_id: "a".into() }), Ok(Answer::Done));
    assert_eq!(daemon.log("a"), "", "the new file is there at once");
    fs::write(&more, "go\n").expect("go");
    daemon.exit_of("a");
    assert_eq!(daemon.log("a"), "stdout F two\n");
    assert!(!fs::read_to_string(&rotated).expect("rotated").contains("two"));
    let kind = |outcome: Result<Answer, protocol::Failure>| outcome.expect_err("refused").kind;
    assert_eq!(kind(daemon.call(Call::ReopenLog { container_id: "a".into() })), FailureKind::NotRunning);
    assert_eq!(kind(daemon.call(Call::ReopenLog { container_id: "b".into() })), FailureKind::NoSuchContainer);
}

#[test]
fn stdin_is_empty_unless_it_is_asked_for_and_then_stays_open() {
    let mut daemon = Daemon::start();
    daemon.run("closed", "cat; echo end");
    daemon.exit_of("closed");
    assert_eq!(daemon.log("closed"), "stdout F end\n");
    let call = CreateCall { stdin: true, ..daemon.create_call("open", "echo begin; cat; echo end") };
    let process = daemon.create(call).expect("create");
    daemon.start_container("open");
    wait_until("it has begun", || daemon.log("open") == "stdout F begin\n");
    process.signal(libc::SIGKILL).expect("kill");
    daemon.exit_of("open");
    assert_eq!(daemon.log("open"), "stdout F begin\n");
}

#[test]
fn an_exec_writes_into_the_daemons_own_pipe_and_its_code_is_told() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    let (id, pipe) = daemon.exec(daemon.exec_call("a", "e", "echo hello; exit 7"));
    assert_eq!(daemon.answer(id), Ok(Answer::ExecEnded { code: 7, timed_out: false }));
    assert_eq!(read_all(pipe), "hello\n");

    let (ours, theirs) = std::io::pipe().expect("pipe");
    let (mut input, stdin) = (fs::File::from(std::os::fd::OwnedFd::from(theirs)), ours);
    let (output, stdout) = std::io::pipe().expect("pipe");
    let call = protocol::ExecCall { has_stdin: true, ..daemon.exec_call("a", "in", "cat") };
    let id = daemon.send(Call::Exec(call), &[stdin.as_fd(), stdout.as_fd()]);
    drop((stdin, stdout));
    input.write_all(b"through").expect("write");
    drop(input);
    assert_eq!(daemon.answer(id), Ok(Answer::ExecEnded { code: 0, timed_out: false }));
    assert_eq!(read_all(fs::File::from(std::os::fd::OwnedFd::from(output))), "through");
}

#[test]
fn an_exec_that_cannot_be_is_refused_with_the_reason() {
    let mut daemon = Daemon::start();
    let call = daemon.exec_call("a", "e", "");
    let (id, _) = daemon.exec(call);
    assert_eq!(daemon.answer(id).expect_err("unknown").kind, FailureKind::NoSuchContainer);
    daemon.run("a", "exec sleep 1000").signal(libc::SIGKILL).expect("kill");
    daemon.exit_of("a");
    let (id, _) = daemon.exec(daemon.exec_call("a", "e", ""));
    assert_eq!(daemon.answer(id).expect_err("exited").kind, FailureKind::NotRunning);
    daemon.run("b", "exec sleep 1000");
    let mut call = daemon.exec_call("b", "e", "");
    let log = call.runtime_log.clone();
    call.command = vec!["/bin/sh".into(), "-c".into(), "echo 'no such command' > $0; exit 255".into(), log];
    let (id, _) = daemon.exec(call);
    let failure = daemon.answer(id).expect_err("refused");
    assert_eq!(failure.message, "no such command (exit code 255)");
}

#[test]
fn past_its_timeout_an_exec_dies_with_its_whole_tree() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    for script in [
        "sleep 1000",
        "sleep 1000 & setsid sleep 1000 & wait",
        "setsid sh -c 'sleep 1000 & sleep 1000' & (sleep 1000 &) ; trap '' TERM INT HUP; wait; sleep 1000",
    ] {
        let call = protocol::ExecCall { timeout_ms: Some(300), ..daemon.exec_call("a", "e", script) };
        let before = Instant::now();
        let (id, pipe) = daemon.exec(call);
        match daemon.answer(id) {
            Ok(Answer::ExecEnded { timed_out: true, .. }) => {}
            other => panic!("{script}: {other:?}"),
        }
        assert!(before.elapsed().as_millis() >= 300);
        // It ends when the last process that holds it is dead.
        assert_eq!(read_all(pipe), "", "{script}");
    }
    // A runtime that hangs counts against the timeout too.
    let mut call = protocol::ExecCall { timeout_ms: Some(200), ..daemon.exec_call("a", "hang", "") };
    call.command = vec!["/bin/sleep".into(), "1000".into()];
    let (id, pipe) = daemon.exec(call);
    assert_eq!(daemon.answer(id), Ok(Answer::ExecEnded { code: 137, timed_out: true }));
    assert_eq!(read_all(pipe), "");
    assert!(daemon.hello().execs.is_empty());
}

#[test]
fn a_runtime_that_hangs_in_exec_is_killed_at_its_deadline() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    let mut call = protocol::ExecCall { deadline_ms: 200, ..daemon.exec_call("a", "hang", "") };
    call.command = vec!["/bin/sh".into(), "-c".into(), "sleep 1000 & sleep 1000".into()];
    let (id, pipe) = daemon.exec(call);
    assert_eq!(daemon.answer(id).expect_err("too late").kind, FailureKind::TimedOut);
    assert_eq!(read_all(pipe), "");
}

#[test]
fn a_dead_daemon_disturbs_nothing_and_its_successor_learns_all() {
    let mut daemon = Daemon::start();
    let mut running = Vec::new();
    for id in ["stays", "ends"] {
        daemon.fifo(&format!("{id}/go"));
        running.push(daemon.run(id, "echo before; read -r x < go; echo after"));
    }
    let exec_go = daemon.fifo("stays/exec-go");
    let (_, exec_pipe) = daemon.exec(daemon.exec_call("stays", "e", "read -r x < exec-go; echo done"));
    daemon.disconnect();
    fs::write(daemon.dir.path().join("ends/go"), "go\n").expect("go");
    let pod_dir = daemon.pod_dir().to_path_buf();
    wait_until("the exit is recorded", || protocol::read_exit(&pod_dir, "ends").expect("record").is_some());
    assert_eq!(daemon.log("ends"), "stdout F before\nstdout F after\n");
    let hello = daemon.reconnect();
    assert_eq!(hello.sandbox_id, "sandbox");
    assert_eq!(hello.monitor.pid, daemon.monitor_pid());
    let states: Vec<_> =
        hello.containers.iter().map(|c| (c.container_id.as_str(), c.process, c.exited)).collect();
    assert_eq!(states, [("stays", Some(running[0]), false), ("ends", Some(running[1]), true)]);
    let exits: Vec<_> = hello.exits.iter().map(|exit| (exit.container_id.as_str(), exit.code)).collect();
    assert_eq!(exits, [("ends", 0)]);
    assert_eq!(hello.execs, ["e"]);
    fs::write(&exec_go, "go\n").expect("go");
    assert_eq!(read_all(exec_pipe), "done\n");
    fs::write(daemon.dir.path().join("stays/go"), "go\n").expect("go");
    assert_eq!(daemon.exit_of("stays").code, 0);
}

/// The next daemon may have found no monitor yet, and undone the pod.
#[test]
fn a_monitor_whose_daemon_dies_before_it_has_asked_for_anything_ends() {
    let mut daemon = Daemon::start();
    daemon.disconnect();
    daemon.wait_for_the_end();
}

#[test]
fn an_exec_of_a_dead_daemon_ends_at_its_timeout() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    let call =
        protocol::ExecCall { timeout_ms: Some(500), ..daemon.exec_call("a", "e", "echo on; sleep 1000") };
    let (_, mut pipe) = daemon.exec(call);
    let mut word = [0; 3];
    pipe.read_exact(&mut word).expect("it runs");
    daemon.disconnect();
    assert_eq!(read_all(pipe), "");
    daemon.reconnect();
}

#[test]
fn a_new_connection_replaces_the_old_one_only_when_it_says_hello() {
    let mut daemon = Daemon::start();
    let _stranger = protocol::connect(daemon.pod_dir()).expect("connect");
    daemon.hello();
    let second = protocol::connect(daemon.pod_dir()).expect("connect");
    let hello = r#"{"id":1,"call":{"hello":{"version":9,"oldest_version":1}}}"#;
    protocol::send(second.as_fd(), hello.as_bytes(), &[]).expect("send");
    assert!(!daemon.is_connected(), "the old connection is closed");
    drop(second);
    daemon.reconnect();
}

#[test]
fn daemons_of_other_releases_get_answers() {
    let mut daemon = Daemon::start();
    daemon.send_raw(br#"{"id":100,"call":{"brand_new":{"x":1}}}"#, &[]);
    assert_eq!(daemon.answer(100).expect_err("unknown").kind, FailureKind::UnknownCall);
    let call = Call::Hello(HelloCall { version: 9, oldest_version: 9 });
    assert_eq!(daemon.call(call).expect_err("too new").kind, FailureKind::Version);
    assert_eq!(daemon.hello().version, protocol::VERSION);
}

#[test]
fn a_command_line_of_a_megabyte_arrives() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    let mut call = daemon.exec_call("a", "e", r#"echo "$LENGTH""#);
    let count = r#"pid_file=$1; shift; LENGTH=$(printf %s "$@" | wc -c); export LENGTH; exec "$0" exec 'echo $LENGTH' "$pid_file""#;
    let mut command =
        vec!["/bin/sh".into(), "-c".into(), count.into(), daemon.dir.path().join("fake").into()];
    command.push(call.pid_file.clone());
    command.extend((0..12).map(|_| "x".repeat(100_000).as_str().into()));
    call.command = command;
    let (id, pipe) = daemon.exec(call);
    assert_eq!(daemon.answer(id), Ok(Answer::ExecEnded { code: 0, timed_out: false }));
    assert_eq!(read_all(pipe).trim(), "1200000");
}

#[test]
fn an_id_that_is_no_file_name_is_refused() {
    let mut daemon = Daemon::start();
    for id in ["", "../a", "a/b", ".hidden", protocol::PAUSE] {
        let call = CreateCall { container_id: id.to_owned(), ..daemon.create_call("a", "") };
        assert_eq!(daemon.create(call).expect_err("refused").kind, FailureKind::BadRequest, "{id:?}");
    }
}

#[test]
fn orphans_are_reaped_and_nobodys_exit_code_is_taken() {
    let mut daemon = Daemon::start();
    daemon.run("a", "for i in 1 2 3 4 5; do (sh -c 'exit 9' &); done; sleep 0.2; exit 5");
    assert_eq!(daemon.exit_of("a").code, 5);
    let monitor = daemon.monitor_pid();
    wait_until("nothing is left unreaped", || children_of(monitor).is_empty());
}

#[test]
fn an_output_that_a_descendant_holds_open_ends_soon_after_the_container() {
    let mut daemon = Daemon::start();
    daemon.run("a", "echo one; setsid sleep 1000 & exit 0");
    assert_eq!(daemon.exit_of("a").code, 0);
    assert_eq!(daemon.log("a"), "stdout F one\n");
}

#[test]
fn forgetting_frees_the_id_and_removes_the_record() {
    let mut daemon = Daemon::start();
    daemon.run("a", "true");
    let forget = || Call::Forget { container_id: "a".into() };
    let failure = daemon.create(daemon.create_call("a", "")).expect_err("taken");
    assert_eq!(failure.kind, FailureKind::AlreadyExists);
    daemon.exit_of("a");
    assert_eq!(daemon.call(forget()), Ok(Answer::Done));
    assert_eq!(protocol::read_exit(daemon.pod_dir(), "a").expect("read"), None);
    assert_eq!(daemon.call(forget()), Ok(Answer::Done), "gone is fine");
    let process = daemon.run("a", "exec sleep 1000");
    assert!(daemon.call(forget()).is_err(), "a running container is not forgotten");
    assert!(process.is_alive());
    assert!(daemon.hello().exits.is_empty());
}

#[test]
fn shutdown_kills_all_and_leaves_no_process_and_no_socket() {
    let mut daemon = Daemon::start();
    let held: Vec<fs::File> = (0..2)
        .map(|i| {
            let id = format!("c{i}");
            daemon.run(&id, "trap '' TERM; setsid sleep 1000 & sleep 1000 & wait; sleep 1000");
            daemon.exec(daemon.exec_call(&id, "e", "setsid sleep 1000 & sleep 1000")).1
        })
        .collect();
    assert_eq!(daemon.call(Call::Shutdown), Ok(Answer::Done));
    daemon.wait_for_the_end();
    for pipe in held {
        assert_eq!(read_all(pipe), "");
    }
    assert!(!daemon.pod_dir().join(protocol::SOCKET_NAME).exists());
    let exit = protocol::read_exit(daemon.pod_dir(), "c0").expect("read").expect("recorded");
    assert_eq!(exit.code, 137);
}

#[test]
fn one_monitor_per_pod() {
    let daemon = Daemon::start();
    let second = harness::monitor(daemon.pod_dir()).stdin(std::process::Stdio::null()).status().expect("run");
    assert!(!second.success());
    let said = fs::read_to_string(daemon.pod_dir().join("monitor.log")).expect("log");
    assert!(said.contains("has a monitor already"), "{said}");
}

#[test]
fn a_monitor_that_nobody_can_find_and_that_has_nothing_to_do_ends() {
    let mut daemon = Daemon::start();
    fs::remove_file(daemon.pod_dir().join(protocol::SOCKET_NAME)).expect("remove");
    daemon.disconnect();
    daemon.wait_for_the_end();
}

#[test]
fn sigterm_ends_the_monitor_only_when_nothing_runs() {
    let mut daemon = Daemon::start();
    let process = daemon.run("a", "exec sleep 1000");
    let monitor = Process::of(daemon.monitor_pid()).expect("running");
    monitor.signal(libc::SIGTERM).expect("signal");
    let _ = daemon.hello();
    process.signal(libc::SIGKILL).expect("signal");
    assert_eq!(daemon.exit_of("a").code, 137);
    daemon.wait_for_the_end();
}

/// No descriptor, an empty root of its own, no capability in any set, three system calls.
fn has_nothing(pid: i32) {
    let of = |name: &str| format!("/proc/{pid}/{name}");
    // The filter is the last that it gives itself.
    wait_until("pause has its filter", || {
        fs::read_to_string(of("status")).is_ok_and(|status| status.contains("\nSeccomp:\t2\n"))
    });
    let status = fs::read_to_string(of("status")).expect("status");
    for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("\n{line}:\t0000000000000000\n")), "{line}: {status}");
    }
    assert!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    assert_eq!(fs::read_dir(of("fd")).expect("fd").count(), 0);
    assert_eq!(fs::read_dir(of("root/")).expect("root").count(), 0);
    let mounts = fs::read_to_string(of("mountinfo")).expect("mountinfo");
    assert!(mounts.lines().count() == 1 && mounts.contains(" / / ro,nosuid,nodev,noexec"), "{mounts}");
    for kind in ["mnt", "cgroup"] {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).expect("ns");
        assert_ne!(fs::read_link(of(&format!("ns/{kind}"))).expect("ns"), own, "{kind}");
    }
}

#[test]
fn pause_is_root_of_a_user_namespace_that_owns_its_pid_namespace() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP: needs root to make a user namespace with other users");
        return;
    }
    let mut daemon = Daemon::start();
    let _ = daemon.hello();
    let mut holder = std::process::Command::new("unshare")
        .args(["--user", "--net", "sleep", "1000"])
        .spawn()
        .expect("unshare");
    let ns = |kind: &str| format!("/proc/{}/ns/{kind}", holder.id());
    let own = fs::read_link("/proc/self/ns/net").expect("ns");
    wait_until("it has left ours", || fs::read_link(ns("net")).is_ok_and(|net| net != own));
    for name in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{}/{name}", holder.id()), "0 300000 1000").expect("a map");
    }
    let user = fs::read_link(ns("user")).expect("ns");
    let call = |new_pid| protocol::PauseCall {
        user: Some(ns("user").as_str().into()),
        network: Some(ns("net").as_str().into()),
        new_pid,
        ..protocol::PauseCall::default()
    };
    let Ok(Answer::Started(pause)) = daemon.call(Call::StartPause(call(true))) else { panic!("no pause") };
    let status = fs::read_to_string(format!("/proc/{}/status", pause.pid)).expect("status");
    let line = |name: &str| {
        let words = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        words.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        (line("Uid:"), line("Gid:"), line("Groups:")),
        (vec!["300000".to_owned(); 4], vec!["300000".to_owned(); 4], vec![])
    );
    assert_eq!(line("NSpid:").last().map(String::as_str), Some("1"));
    has_nothing(pause.pid);
    assert_eq!(line("PPid:"), [daemon.monitor_pid().to_string()]);
    assert_eq!(fs::read_link(format!("/proc/{}/ns/user", pause.pid)).expect("ns"), user);
    let net = fs::read_link(format!("/proc/{}/ns/net", pause.pid)).expect("ns");
    assert_eq!(net, fs::read_link(ns("net")).expect("ns"));
    wait_until("whose place it took is reaped", || children_of(daemon.monitor_pid()).len() == 1);
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    pause.signal(libc::SIGTERM).expect("term");
    assert_eq!(daemon.exit_of(protocol::PAUSE).code, 0);
}

#[test]
fn pause_without_a_new_pid_namespace_holds_on_and_its_exit_is_told() {
    let mut daemon = Daemon::start();
    let Ok(Answer::Started(process)) = daemon.call(Call::StartPause(protocol::PauseCall::default())) else {
        panic!("pause does not start");
    };
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", process.pid)).expect(name);
    // It names itself: until its first instruction it has the name of what it was executed from.
    wait_until("pause is called so", || read("comm") == "pause\n");
    assert_eq!(read("cmdline"), "pause\0");
    assert_eq!(read("environ"), "");
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", process.pid)).expect("cwd").to_str(), Some("/"));
    has_nothing(process.pid);
    assert!(daemon.call(Call::StartPause(protocol::PauseCall::default())).is_err(), "one per pod");
    assert_eq!(daemon.hello().pause, Some(process));
    process.signal(libc::SIGTERM).expect("signal");
    match daemon.next_event() {
        Event::Exited(record) => {
            assert_eq!((record.container_id.as_str(), record.code), (protocol::PAUSE, 0))
        }
        other => panic!("{other:?}"),
    }
    let missing = protocol::PauseCall { network: Some("/nowhere/net".into()), ..Default::default() };
    let mut other = Daemon::start();
    let failure = other.call(Call::StartPause(missing)).expect_err("no such namespace");
    assert!(failure.message.contains("/nowhere/net"), "{}", failure.message);
}
