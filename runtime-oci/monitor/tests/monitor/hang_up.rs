//! Execs whose client has left, with a scripted runtime.

use std::io::Read;
use std::time::{Duration, Instant};

use linkspan_monitor::protocol::{Answer, Call, ExecCall};

use crate::harness::{Daemon, wait_until};
use crate::read_all;

fn hang_up(daemon: &mut Daemon, exec_id: &str, grace: Duration) {
    let call = Call::HangUpExec { exec_id: exec_id.to_owned(), grace_ms: grace.as_millis() as u64 };
    assert_eq!(daemon.call(call), Ok(Answer::Done));
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(300);

fn ended(code: i32) -> Result<Answer, linkspan_monitor::protocol::Failure> {
    Ok(Answer::ExecEnded { code, timed_out: false })
}

#[test]
fn an_exec_and_its_children_are_hung_up_at_once() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    hang_up(&mut daemon, "unknown", LONG);
    for (script, code, last_words) in [
        ("echo on; sleep 1000; exit 0", 129, ""),
        // The job says it, once it is a program of its own: until then it has the shell's trap.
        ("trap 'echo bye; exit 7' HUP; sh -c 'echo on; exec sleep 1000' & wait; wait", 7, "bye\n"),
        ("echo on; kill -STOP $$", 129, ""),
    ] {
        let (id, mut pipe) = daemon.exec(daemon.exec_call("a", "e", script));
        pipe.read_exact(&mut [0; 3]).expect("it runs");
        hang_up(&mut daemon, "e", LONG);
        assert_eq!(daemon.answer(id), ended(code), "{script}");
        // The pipe ends when all that held it are dead.
        assert_eq!(read_all(pipe), last_words, "{script}");
    }
    assert!(daemon.hello().execs.is_empty());
}

#[test]
fn what_does_not_heed_the_hang_up_is_killed_whole() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    let deaf = "trap '' HUP; setsid sleep 1000 & sleep 1000 & echo on; wait; sleep 1000";
    let before = Instant::now();
    let (id, mut pipe) = daemon.exec(daemon.exec_call("a", "e", deaf));
    pipe.read_exact(&mut [0; 3]).expect("it runs");
    hang_up(&mut daemon, "e", SHORT);
    assert_eq!(daemon.answer(id), ended(137));
    assert!(before.elapsed() >= SHORT);
    assert_eq!(read_all(pipe), "");

    // The process itself goes at once, and is told; the deaf children of it are killed later.
    let half = "(trap '' HUP; echo a; sleep 1000; sleep 1000) & (trap '' HUP; echo b; exec setsid sleep 1000) & echo on; wait";
    let before = Instant::now();
    let (id, mut pipe) = daemon.exec(daemon.exec_call("a", "e", half));
    pipe.read_exact(&mut [0; 7]).expect("all three run");
    hang_up(&mut daemon, "e", SHORT);
    assert_eq!(daemon.answer(id), ended(129));
    assert!(daemon.hello().execs.is_empty(), "it has ended");
    assert_eq!(read_all(pipe), "");
    assert!(before.elapsed() >= SHORT);
}

#[test]
fn an_exec_that_does_not_run_yet_is_hung_up_when_it_does() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    let go = daemon.fifo("a/exec-go");
    let mut call = daemon.exec_call("a", "e", "sleep 1000");
    let wait = r#"read -r x < exec-go; exec "$0" "$@""#;
    call.command = ["/bin/sh", "-c", wait].map(Into::into).into_iter().chain(call.command).collect();
    let (id, pipe) = daemon.exec(call);
    hang_up(&mut daemon, "e", LONG);
    assert_eq!(daemon.hello().execs, ["e"]);
    std::fs::write(go, "go\n").expect("go");
    assert_eq!(daemon.answer(id), ended(129));
    assert_eq!(read_all(pipe), "");
}

#[test]
fn only_an_exec_that_ends_with_its_caller_ends_with_the_connection() {
    let mut daemon = Daemon::start();
    daemon.run("a", "exec sleep 1000");
    let go = daemon.fifo("a/exec-go");
    let (_, mut stays) =
        daemon.exec(daemon.exec_call("a", "stays", "echo on; read -r x < exec-go; echo done"));
    let call = ExecCall {
        ends_with_caller: true,
        ..daemon.exec_call(
            "a",
            "goes",
            "trap 'echo bye; exit 1' HUP; sh -c 'echo on; exec sleep 1000' & wait",
        )
    };
    let (_, mut goes) = daemon.exec(call);
    for pipe in [&mut stays, &mut goes] {
        pipe.read_exact(&mut [0; 3]).expect("it runs");
    }
    daemon.disconnect();
    assert_eq!(read_all(goes), "bye\n");
    daemon.reconnect();
    wait_until("only the other is left", || daemon.hello().execs == ["stays"]);
    std::fs::write(go, "go\n").expect("go");
    assert_eq!(read_all(stays), "done\n");
}
