//! The daemon's side against the real monitor, with a scripted runtime. Needs no root.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linkspan_monitor::protocol;
use linkspan_runtime_oci::{
    CreateRequest, Error, Event, ExecRequest, Exit, Monitor, MonitorSpec, PauseSpec, Process, exec_sync,
    read_exit,
};
use tokio::sync::mpsc::UnboundedReceiver;

const LIMIT: Duration = Duration::from_secs(30);
const MIB: usize = 1 << 20;

/// The monitor's own tests have the same.
const FAKE_RUNTIME: &str = include_str!("../monitor/tests/monitor/fake-runtime");

struct Pod {
    dir: tempfile::TempDir,
    monitor: Monitor,
    events: UnboundedReceiver<Event>,
}

/// The monitor is a binary of another package: it is there if the whole workspace was built.
fn binary() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("this test's own path");
    let binary = test.parent()?.parent()?.join("linkspan-monitor");
    if binary.exists() {
        return Some(binary);
    }
    eprintln!("SKIP: no {} (cargo build -p linkspan-monitor)", binary.display());
    None
}

fn spec(binary: PathBuf, pod_dir: &Path) -> MonitorSpec {
    MonitorSpec {
        binary,
        pod_dir: pod_dir.to_path_buf(),
        sandbox_id: "sandbox".to_owned(),
        cgroup_procs: Vec::new(),
        oom_score_adj: None,
        max_log_line_bytes: 16 * 1024,
    }
}

impl Pod {
    async fn start() -> Option<Self> {
        let binary = binary()?;
        let dir = tempfile::tempdir().expect("tempdir");
        let runtime = dir.path().join("fake");
        fs::write(&runtime, FAKE_RUNTIME).expect("write");
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).expect("chmod");
        let monitor = Monitor::spawn(&spec(binary, dir.path())).await.expect("spawn");
        let events = monitor.subscribe();
        Some(Self { dir, monitor, events })
    }

    fn command(&self, verb: &str, script: &str, pid_file: &Path) -> Vec<OsString> {
        vec![self.dir.path().join("fake").into(), verb.into(), script.into(), pid_file.into()]
    }

    async fn run(&self, id: &str, script: &str) -> Process {
        let bundle = self.dir.path().join(id);
        fs::create_dir_all(&bundle).expect("bundle");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, bundle.join("start"), rustix::fs::FileType::Fifo, mode, 0)
            .expect("mkfifo");
        let pid_file = bundle.join("pid");
        let request = CreateRequest {
            container_id: id.to_owned(),
            command: self.command("create", script, &pid_file),
            bundle: bundle.clone(),
            pid_file,
            runtime_log: bundle.join("runtime.log"),
            log_path: Some(bundle.join("0.log")),
            deadline: LIMIT,
            ..CreateRequest::default()
        };
        let process = self.monitor.create(request).await.expect("create");
        fs::write(bundle.join("start"), "go\n").expect("start");
        process
    }

    fn exec(&self, id: &str, exec_id: &str, script: &str, timeout: Option<Duration>) -> ExecRequest {
        let bundle = self.dir.path().join(id);
        let pid_file = bundle.join(format!("{exec_id}.pid"));
        ExecRequest {
            container_id: id.to_owned(),
            exec_id: exec_id.to_owned(),
            command: self.command("exec", script, &pid_file),
            runtime_log: bundle.join(format!("{exec_id}.log")),
            bundle,
            pid_file,
            timeout,
            ..ExecRequest::default()
        }
    }

    async fn next_event(&mut self) -> Event {
        tokio::time::timeout(LIMIT, self.events.recv()).await.expect("in time").expect("an event")
    }

    async fn exit_of(&mut self, id: &str) -> Exit {
        loop {
            match self.next_event().await {
                Event::Exited { container_id, exit } if container_id == id => return exit,
                Event::Lost => panic!("the monitor is lost"),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_container_lives_from_create_to_forget() {
    let Some(mut pod) = Pod::start().await else { return };
    let process = pod.run("a", "echo hello; exit 3").await;
    let exit = pod.exit_of("a").await;
    assert_eq!((exit.code, exit.oom_killed), (3, false));
    assert!(!process.is_alive());
    assert_eq!(read_exit(pod.dir.path(), "a").expect("record"), Some(exit));
    let log = fs::read_to_string(pod.dir.path().join("a/0.log")).expect("log");
    assert!(log.ends_with(" stdout F hello\n"), "{log}");
    // Who subscribes late hears of it all the same.
    let mut late = pod.monitor.subscribe();
    assert_eq!(late.recv().await, Some(Event::Exited { container_id: "a".to_owned(), exit }));
    assert!(matches!(pod.monitor.reopen_log("a").await, Err(Error::NotRunning { .. })));
    pod.monitor.forget("a").await.expect("forget");
    pod.monitor.forget("a").await.expect("gone is fine");
    assert_eq!(read_exit(pod.dir.path(), "a").expect("record"), None);
    pod.monitor.shutdown().await.expect("shutdown");
    assert!(!pod.monitor.process().is_alive());
    pod.monitor.shutdown().await.expect("gone is fine");
}

#[tokio::test]
async fn exec_sync_returns_both_streams_and_the_code() {
    let Some(pod) = Pod::start().await else { return };
    pod.run("a", "exec sleep 1000").await;
    let request = pod.exec("a", "e", "echo out; echo err >&2; exit 5", None);
    let output = exec_sync(&pod.monitor, request, MIB).await.expect("exec");
    assert_eq!((output.stdout, output.stderr, output.exit_code), (b"out\n".into(), b"err\n".into(), 5));
    pod.monitor.shutdown().await.expect("shutdown");
}

#[tokio::test]
async fn exec_sync_caps_what_it_keeps_and_not_what_it_reads() {
    let Some(pod) = Pod::start().await else { return };
    pod.run("a", "exec sleep 1000").await;
    let script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 4";
    let output = exec_sync(&pod.monitor, pod.exec("a", "e", script, None), MIB).await.expect("exec");
    assert_eq!((output.stdout.len() + output.stderr.len(), output.exit_code), (MIB, 4));
    pod.monitor.shutdown().await.expect("shutdown");
}

#[tokio::test]
async fn exec_sync_does_not_wait_for_who_else_holds_the_output() {
    let Some(pod) = Pod::start().await else { return };
    pod.run("a", "exec sleep 1000").await;
    let before = Instant::now();
    let output = exec_sync(&pod.monitor, pod.exec("a", "e", "echo on; sleep 1000 &", None), MIB).await;
    assert_eq!(output.expect("exec").stdout, b"on\n");
    assert!(before.elapsed() < Duration::from_secs(20));
    pod.monitor.shutdown().await.expect("shutdown");
}

#[tokio::test]
async fn exec_sync_past_its_timeout_is_an_error_and_the_tree_is_dead() {
    let Some(pod) = Pod::start().await else { return };
    pod.run("a", "exec sleep 1000").await;
    let script = "echo $$ > pids; sleep 1000 & echo $! >> pids; setsid sleep 1000 & echo $! >> pids; wait";
    let request = pod.exec("a", "e", script, Some(Duration::from_millis(700)));
    let error = exec_sync(&pod.monitor, request, MIB).await.expect_err("too late");
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("exec e in container a"), "{error}");
    let pids = fs::read_to_string(pod.dir.path().join("a/pids")).expect("pids");
    assert_eq!(pids.lines().count(), 3);
    for pid in pids.lines() {
        let process = Process::of(pid.parse().expect("a PID"));
        assert!(!process.is_ok_and(|process| process.is_alive()), "{pid} is alive");
    }
    pod.monitor.shutdown().await.expect("shutdown");
}

#[tokio::test]
async fn refusals_name_the_runtime_and_carry_its_words() {
    let Some(pod) = Pod::start().await else { return };
    let bundle = pod.dir.path().to_path_buf();
    let request = |command: Vec<OsString>, deadline| CreateRequest {
        container_id: "a".to_owned(),
        command,
        bundle: bundle.clone(),
        pid_file: bundle.join("pid"),
        runtime_log: bundle.join("runtime.log"),
        deadline,
        ..CreateRequest::default()
    };
    let sh = |script: &str| vec!["/bin/sh".into(), "-c".into(), script.into()];
    let error =
        pod.monitor.create(request(sh("echo no good >&2; exit 2"), LIMIT)).await.expect_err("refused");
    assert_eq!(error.to_string(), "sh create a: no good (exit code 2)");
    let error = pod.monitor.create(request(vec!["/nowhere/runc".into()], LIMIT)).await.expect_err("missing");
    assert!(matches!(error, Error::RuntimeMissing { .. }), "{error}");
    let deadline = Duration::from_millis(100);
    let error = pod.monitor.create(request(sh("exec sleep 1000"), deadline)).await.expect_err("too late");
    assert!(matches!(error, Error::TimedOut { after, .. } if after == deadline), "{error}");
    let error = exec_sync(&pod.monitor, pod.exec("b", "e", "", None), MIB).await.expect_err("unknown");
    assert!(matches!(error, Error::NoSuchContainer { .. }), "{error}");
    pod.monitor.shutdown().await.expect("shutdown");
}

#[tokio::test]
async fn a_runtime_that_did_not_begin_to_create_is_asked_again() {
    let Some(pod) = Pod::start().await else { return };
    let bundle = pod.dir.path().to_path_buf();
    let script = "[ -e tried ] || { touch tried; echo 'Error: failed to seal /proc/self/exe' >&2; exit 1; }
        sleep 1000 & echo $! >pid";
    let request = CreateRequest {
        container_id: "a".to_owned(),
        command: vec!["/bin/sh".into(), "-c".into(), script.into()],
        bundle: bundle.clone(),
        pid_file: bundle.join("pid"),
        runtime_log: bundle.join("runtime.log"),
        deadline: LIMIT,
        ..CreateRequest::default()
    };
    pod.monitor.create(request).await.expect("it began at the second try");
    pod.monitor.shutdown().await.expect("shutdown");
}

#[tokio::test]
async fn a_runtime_that_did_not_begin_to_exec_is_asked_again() {
    let Some(pod) = Pod::start().await else { return };
    pod.run("a", "exec sleep 1000").await;
    let mut request = pod.exec("a", "e", "echo done", None);
    let script = "[ -e tried ] || { touch tried; echo 'Error: failed to seal /proc/self/exe' >&2; exit 1; }
        exec \"$@\"";
    request.command.splice(0..0, ["/bin/sh", "-c", script, "sh"].map(OsString::from));
    let output = exec_sync(&pod.monitor, request, MIB).await.expect("it began at the second try");
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (b"done\n".as_slice(), b"".as_slice()));
    pod.monitor.shutdown().await.expect("shutdown");
}

#[tokio::test]
async fn a_second_daemon_takes_over_and_knows_all() {
    let Some(mut pod) = Pod::start().await else { return };
    let stays = pod.run("stays", "exec sleep 1000").await;
    pod.run("ends", "exit 9").await;
    let exit = pod.exit_of("ends").await;
    let second = Monitor::connect(pod.dir.path()).await.expect("connect");
    assert_eq!(pod.next_event().await, Event::Lost);
    assert!(matches!(pod.monitor.forget("ends").await, Err(Error::MonitorLost { .. })));
    assert_eq!(
        (second.process(), second.sandbox_id(), second.pause()),
        (pod.monitor.process(), "sandbox", None)
    );
    let known = second.containers();
    let of = |id: &str| known.iter().find(|container| container.container_id == id).expect("known");
    assert_eq!((of("stays").process, of("stays").exit), (Some(stays), None));
    assert_eq!(of("ends").exit, Some(exit));
    let mut events = second.subscribe();
    assert_eq!(events.recv().await, Some(Event::Exited { container_id: "ends".to_owned(), exit }));
    second.shutdown().await.expect("shutdown");
    assert!(!stays.is_alive());
    assert!(matches!(Monitor::connect(pod.dir.path()).await, Err(Error::MonitorLost { .. })));
}

#[tokio::test]
async fn only_a_monitor_that_is_not_there_or_dead_counts_as_lost() {
    let dir = tempfile::tempdir().expect("tempdir");
    let lost = |answer: Result<Monitor, Error>| matches!(answer, Err(Error::MonitorLost { .. }));
    assert!(lost(Monitor::connect(&dir.path().join("nowhere")).await));
    assert!(lost(Monitor::reach(dir.path()).await), "no socket");
    // One that lets nobody in, as if it were stopped.
    let silent = protocol::listen(dir.path()).expect("listen");
    let mut waiting = Vec::new();
    let full = loop {
        match protocol::connect(dir.path()) {
            Ok(socket) => waiting.push(socket),
            Err(error) => break error,
        }
        assert!(waiting.len() < 1000, "it takes any number");
    };
    assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
    let answer = Monitor::connect(dir.path()).await;
    assert!(matches!(answer, Err(Error::Io { .. })), "{answer:?}");
    let reached = tokio::spawn({
        let dir = dir.path().to_owned();
        async move { Monitor::reach(&dir).await }
    });
    tokio::task::yield_now().await;
    assert!(!reached.is_finished());
    drop(silent);
    assert!(lost(reached.await.expect("no panic")), "it has died");
}

#[tokio::test]
async fn the_death_of_the_monitor_is_told_to_all_who_wait() {
    let Some(mut pod) = Pod::start().await else { return };
    let process = pod.run("a", "exec sleep 1000").await;
    let exec = pod.exec("a", "e", "echo on; exec sleep 1000", None);
    let (killed, outcome) = tokio::join!(
        async {
            // The exec is on its way: the monitor answers in order.
            pod.monitor.forget("nobody").await.expect("an answer");
            pod.monitor.process().signal(libc::SIGKILL)
        },
        exec_sync(&pod.monitor, exec, MIB)
    );
    killed.expect("kill");
    assert!(matches!(outcome, Err(Error::MonitorLost { .. })), "{outcome:?}");
    assert_eq!(pod.next_event().await, Event::Lost);
    process.signal(libc::SIGKILL).expect("kill");
    let leftovers = fs::read_to_string(pod.dir.path().join("a/e.pid")).unwrap_or_default();
    if let Ok(pid) = leftovers.trim().parse()
        && let Ok(process) = Process::of(pid)
    {
        process.signal(libc::SIGKILL).expect("kill");
    }
}

#[tokio::test]
async fn a_monitor_that_cannot_start_says_why() {
    let Some(binary) = binary() else { return };
    let dir = tempfile::tempdir().expect("tempdir");
    let mut wrong = spec(binary, dir.path());
    wrong.cgroup_procs.push("/nowhere/cgroup.procs".into());
    let error = Monitor::spawn(&wrong).await.expect_err("no such cgroup");
    assert!(error.to_string().contains("/nowhere/cgroup.procs"), "{error}");
    let missing = spec("/nowhere/linkspan-monitor".into(), dir.path());
    let error = Monitor::spawn(&missing).await.expect_err("no such binary");
    assert!(error.to_string().contains("/nowhere/linkspan-monitor"), "{error}");
}

#[tokio::test]
async fn pause_starts_once_and_its_exit_is_an_event() {
    let Some(mut pod) = Pod::start().await else { return };
    let pause = pod.monitor.start_pause(PauseSpec::default()).await.expect("pause");
    assert!(pod.monitor.start_pause(PauseSpec::default()).await.is_err());
    pause.signal(libc::SIGTERM).expect("signal");
    assert_eq!(pod.exit_of("pause").await.code, 0);
    pod.monitor.shutdown().await.expect("shutdown");
}
