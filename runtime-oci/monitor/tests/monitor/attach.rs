//! Attached clients, with a scripted runtime.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use linkspan_monitor::protocol::{Answer, AttachCall, Call, CreateCall, FailureKind, RequestId};

use crate::harness::{Daemon, wait_until};
use crate::{descriptors_of, read_all, wait_until_idle};

/// A client's side of its pipes.
pub(crate) struct Client {
    pub(crate) id: RequestId,
    pub(crate) stdin: fs::File,
    pub(crate) stdout: fs::File,
    pub(crate) stderr: fs::File,
}

/// With all three streams.
pub(crate) fn attach(daemon: &mut Daemon, container_id: &str, attach_id: &str) -> Client {
    let pipe = || {
        let (reader, writer) = std::io::pipe().expect("pipe");
        (OwnedFd::from(reader), OwnedFd::from(writer))
    };
    let (stdin, stdout, stderr) = (pipe(), pipe(), pipe());
    let call = AttachCall {
        container_id: container_id.to_owned(),
        attach_id: attach_id.to_owned(),
        has_stdin: true,
        has_stdout: true,
        has_stderr: true,
    };
    let fds: [BorrowedFd<'_>; 3] = [stdin.0.as_fd(), stdout.1.as_fd(), stderr.1.as_fd()];
    let id = daemon.send(Call::Attach(call), &fds);
    // Calls are served in order: once this one is answered, the client is attached.
    daemon
        .call(Call::EndStdin { container_id: "nobody".into(), attach_id: "a".into() })
        .expect("unknown is fine");
    Client { id, stdin: stdin.1.into(), stdout: stdout.0.into(), stderr: stderr.0.into() }
}

pub(crate) fn end_stdin(daemon: &mut Daemon, container_id: &str, attach_id: &str) {
    let call = Call::EndStdin { container_id: container_id.into(), attach_id: attach_id.into() };
    assert_eq!(daemon.call(call), Ok(Answer::Done));
}

pub(crate) fn read_exactly(mut file: &fs::File, expected: &str) {
    let mut said = vec![0; expected.len()];
    file.read_exact(&mut said).expect("output");
    assert_eq!(String::from_utf8(said).expect("text"), expected);
}

/// Says each line that comes through `says`, on stdout and on stderr.
const PARROT: &str = r#"exec 8<> says; while read -r line <&8; do test "$line" = end && exit 3; echo "$line"; echo "$line!" >&2; done"#;

fn say(daemon: &Daemon, id: &str, line: &str) {
    fs::write(daemon.pod_dir().join(id).join("says"), format!("{line}\n")).expect("says");
}

#[test]
fn clients_hear_both_streams_from_their_attach_on() {
    let mut daemon = Daemon::start();
    daemon.fifo("a/says");
    daemon.run("a", PARROT);
    say(&daemon, "a", "zero");
    wait_until("it runs", || daemon.log("a").contains("F zero!"));
    let first = attach(&mut daemon, "a", "first");
    say(&daemon, "a", "one");
    read_exactly(&first.stdout, "one\n");
    read_exactly(&first.stderr, "one!\n");
    let second = attach(&mut daemon, "a", "second");
    say(&daemon, "a", "two");
    for client in [&first, &second] {
        read_exactly(&client.stdout, "two\n");
        read_exactly(&client.stderr, "two!\n");
    }
    // One that is gone is let go; the other hears the end.
    drop((first.stdin, first.stdout, first.stderr));
    assert_eq!(daemon.answer(first.id), Ok(Answer::Done));
    say(&daemon, "a", "three");
    read_exactly(&second.stdout, "three\n");
    assert!(!daemon.has_answer(second.id));
    say(&daemon, "a", "end");
    assert_eq!(daemon.exit_of("a").code, 3);
    assert_eq!(daemon.answer(second.id), Ok(Answer::Done));
    assert_eq!((read_all(second.stdout), read_all(second.stderr)), (String::new(), "three!\n".to_owned()));
    let log = daemon.log("a");
    for line in ["zero", "one", "two", "three"] {
        assert!(log.contains(&format!("stdout F {line}\n")) && log.contains(&format!("stderr F {line}!\n")));
    }
}

#[test]
fn a_client_that_does_not_read_holds_up_neither_container_nor_log() {
    const LINES: usize = 1_000_000;
    let mut daemon = Daemon::start();
    let go = daemon.fifo("a/go");
    daemon.run("a", &format!("read -r x < go; exec seq 1 {LINES}"));
    let slow = attach(&mut daemon, "a", "slow");
    fs::write(&go, "go\n").expect("go");
    assert_eq!(daemon.exit_of("a").code, 0);
    let all: String = (1..=LINES).map(|i| format!("{i}\n")).collect();
    let log: String =
        daemon.log("a").lines().map(|line| format!("{}\n", &line["stdout F ".len()..])).collect();
    assert!(log == all, "the log has {} bytes", log.len());
    // What it got has no gap, and it is told that this is not all.
    let failure = daemon.answer(slow.id).expect_err("it was too slow");
    assert_eq!(failure.kind, FailureKind::TooSlow);
    assert!(failure.message.contains(" bytes of output"), "{}", failure.message);
    let heard = read_all(slow.stdout);
    assert!(heard.len() < all.len() && all.starts_with(&heard), "{} bytes", heard.len());
}

/// The only client of a container that says more than all pipes hold and whose stdin is one client's. It has not read anything, and
/// its pipe is full: until somebody reads there is nothing to be done.
fn slow_client(daemon: &mut Daemon, lines: usize) -> Client {
    let go = daemon.fifo("a/go");
    let script = format!("read -r x < go; exec seq 1 {lines}");
    let call = CreateCall { stdin: true, stdin_once: true, ..daemon.create_call("a", &script) };
    daemon.create(call).expect("create");
    daemon.start_container("a");
    let slow = attach(daemon, "a", "slow");
    fs::write(&go, "go\n").expect("go");
    let log = daemon.log_path("a");
    wait_until("its pipe is full", || fs::metadata(&log).is_ok_and(|log| log.len() > 2 * 1024 * 1024));
    wait_until_idle(daemon);
    slow
}

#[test]
fn a_container_with_one_input_waits_for_its_only_client() {
    const LINES: usize = 1_000_000;
    let mut daemon = Daemon::start();
    let slow = slow_client(&mut daemon, LINES);
    let heard = read_all(slow.stdout);
    assert!(heard == (1..=LINES).map(|i| format!("{i}\n")).collect::<String>(), "{} bytes", heard.len());
    assert_eq!(daemon.answer(slow.id), Ok(Answer::Done));
    assert_eq!(daemon.exit_of("a").code, 0);
}

#[test]
fn what_an_ended_container_left_to_its_only_client_is_all_delivered() {
    // A little more than the client's pipe holds: the rest is in the container's own when it ends.
    const BYTES: usize = 1024 * 1024 + 50_000;
    let mut daemon = Daemon::start();
    let go = daemon.fifo("a/go");
    let script = format!("read -r x < go; exec head -c {BYTES} /dev/zero");
    let call =
        CreateCall { stdin: true, stdin_once: true, log_path: None, ..daemon.create_call("a", &script) };
    daemon.create(call).expect("create");
    daemon.start_container("a");
    let slow = attach(&mut daemon, "a", "slow");
    fs::write(&go, "go\n").expect("go");
    assert_eq!(daemon.exit_of("a").code, 0);
    assert_eq!(read_all(slow.stdout).len(), BYTES);
    assert_eq!(daemon.answer(slow.id), Ok(Answer::Done));
}

#[test]
fn nobody_waits_for_a_client_that_is_gone() {
    for leave in [
        |_: &mut Daemon, slow: Client| drop(slow),
        |daemon: &mut Daemon, slow: Client| {
            daemon.reconnect();
            drop(slow);
        },
    ] {
        let mut daemon = Daemon::start();
        let slow = slow_client(&mut daemon, 1_000_000);
        leave(&mut daemon, slow);
        assert_eq!(daemon.exit_of("a").code, 0);
    }
}

#[test]
fn nobody_waits_for_one_of_two_clients() {
    const LINES: usize = 1_000_000;
    let mut daemon = Daemon::start();
    let slow = slow_client(&mut daemon, LINES);
    let other = attach(&mut daemon, "a", "other");
    assert_eq!(daemon.answer(slow.id).expect_err("it is in the way").kind, FailureKind::TooSlow);
    assert!(read_all(other.stdout).ends_with(&format!("{LINES}\n")));
    assert_eq!(daemon.exit_of("a").code, 0);
}

#[test]
fn input_is_delivered_before_a_stdin_once_is_closed() {
    const BYTES: usize = 3_000_000;
    let mut daemon = Daemon::start();
    let call = CreateCall { stdin: true, stdin_once: true, ..daemon.create_call("a", "wc -c; echo end") };
    daemon.create(call).expect("create");
    daemon.start_container("a");
    let mut client = attach(&mut daemon, "a", "c");
    client.stdin.write_all(&vec![b'x'; BYTES]).expect("write");
    end_stdin(&mut daemon, "a", "c");
    drop(client.stdin);
    assert_eq!(read_all(client.stdout), format!("{BYTES}\nend\n"));
    assert_eq!(daemon.exit_of("a").code, 0);
    assert_eq!(daemon.answer(client.id), Ok(Answer::Done));
}

#[test]
fn a_client_that_goes_without_a_word_ends_no_input() {
    let mut daemon = Daemon::start();
    let call = CreateCall { stdin: true, stdin_once: true, ..daemon.create_call("a", "cat; echo end") };
    daemon.create(call).expect("create");
    daemon.start_container("a");
    let mut first = attach(&mut daemon, "a", "first");
    first.stdin.write_all(b"first ").expect("write");
    drop(first.stdin);
    read_exactly(&first.stdout, "first ");
    drop((first.stdout, first.stderr));
    assert_eq!(daemon.answer(first.id), Ok(Answer::Done));
    let mut second = attach(&mut daemon, "a", "second");
    let mut third = attach(&mut daemon, "a", "third");
    second.stdin.write_all(b"second ").expect("write");
    read_exactly(&second.stdout, "second ");
    third.stdin.write_all(b"third ").expect("write");
    read_exactly(&third.stdout, "second third ");
    end_stdin(&mut daemon, "a", "third");
    assert_eq!(daemon.exit_of("a").code, 0);
    assert_eq!(daemon.log("a"), "stdout F first second third end\n");
}

#[test]
fn without_stdin_once_the_next_client_goes_on() {
    let mut daemon = Daemon::start();
    let script = "while read -r line; do echo got $line; test $line = end && exit 4; done; echo closed";
    let call = CreateCall { stdin: true, ..daemon.create_call("a", script) };
    daemon.create(call).expect("create");
    daemon.start_container("a");
    for (attach_id, line) in [("first", "one"), ("second", "end")] {
        let mut client = attach(&mut daemon, "a", attach_id);
        client.stdin.write_all(format!("{line}\n").as_bytes()).expect("write");
        end_stdin(&mut daemon, "a", attach_id);
        drop(client.stdin);
        read_exactly(&client.stdout, &format!("got {line}\n"));
    }
    assert_eq!(daemon.exit_of("a").code, 4);
}

#[test]
fn what_nobody_reads_is_not_taken_and_costs_no_time() {
    let mut daemon = Daemon::start();
    let call =
        CreateCall { stdin: true, stdin_once: true, ..daemon.create_call("a", "read -r x < go; wc -c") };
    let go = daemon.fifo("a/go");
    daemon.create(call).expect("create");
    daemon.start_container("a");
    let (mut first, mut second) = (attach(&mut daemon, "a", "first"), attach(&mut daemon, "a", "second"));
    let mut written = 0;
    for client in [&mut first, &mut second] {
        rustix::io::ioctl_fionbio(&client.stdin, true).expect("non-blocking");
        loop {
            match client.stdin.write(&[b'x'; 4096]) {
                Ok(length) => written += length,
                Err(e) => {
                    // The monitor may be about to take one more chunk.
                    assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock);
                    wait_until_idle(&daemon);
                    match client.stdin.write(&[b'x'; 4096]) {
                        Ok(length) => written += length,
                        Err(_) => break,
                    }
                }
            }
        }
    }
    assert!(written < 512 * 1024, "{written} bytes were taken");
    // The pipe's end, and a reader that is gone, are told by the kernel for as long as somebody listens.
    drop((second.stdin, second.stdout, second.stderr));
    assert_eq!(daemon.answer(second.id), Ok(Answer::Done));
    end_stdin(&mut daemon, "a", "first");
    drop((first.stdin, first.stderr));
    wait_until_idle(&daemon);
    fs::write(&go, "go\n").expect("go");
    let counted: usize = read_all(first.stdout).trim().parse().expect("a number");
    // Those of the second client that were still in its pipe when the first one's end closed the input are nobody's.
    assert!(counted <= written && counted >= 64 * 1024, "{counted} of {written}");
    assert_eq!(daemon.exit_of("a").code, 0);
}

#[test]
fn a_container_without_stdin_takes_none() {
    let mut daemon = Daemon::start();
    daemon.fifo("a/says");
    daemon.run("a", PARROT);
    let mut client = attach(&mut daemon, "a", "c");
    let error = client.stdin.write_all(b"x").expect_err("nobody reads it");
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    say(&daemon, "a", "one");
    read_exactly(&client.stdout, "one\n");
}

#[test]
fn an_attach_that_cannot_be_is_refused() {
    let mut daemon = Daemon::start();
    let process = daemon.run("a", "exec sleep 1000");
    let _first = attach(&mut daemon, "a", "c");
    let again = attach(&mut daemon, "a", "c");
    assert_eq!(daemon.answer(again.id).expect_err("taken").kind, FailureKind::AlreadyExists);
    let unknown = attach(&mut daemon, "b", "d");
    assert_eq!(daemon.answer(unknown.id).expect_err("unknown").kind, FailureKind::NoSuchContainer);
    process.signal(libc::SIGKILL).expect("kill");
    daemon.exit_of("a");
    let late = attach(&mut daemon, "a", "e");
    assert_eq!(daemon.answer(late.id).expect_err("exited").kind, FailureKind::NotRunning);
    let resize = |id: &str| Call::Resize { container_id: id.into(), columns: 80, rows: 24 };
    assert_eq!(daemon.call(resize("a")).expect_err("exited").kind, FailureKind::NotRunning);
    daemon.run("t", "exec sleep 1000");
    assert_eq!(daemon.call(resize("t")).expect_err("no terminal").kind, FailureKind::BadRequest);
    let full: Vec<_> = (0..130).map(|i| attach(&mut daemon, "t", &format!("c{i}"))).collect();
    let failure = daemon.answer(full[129].id).expect_err("too many");
    assert!(failure.message.contains("128 clients"), "{}", failure.message);
    assert!(!daemon.has_answer(full[127].id));
}

#[test]
fn a_hundred_sessions_leave_no_descriptor() {
    let mut daemon = Daemon::start();
    let call = CreateCall { stdin: true, ..daemon.create_call("a", "exec cat") };
    daemon.create(call).expect("create");
    daemon.start_container("a");
    let monitor = daemon.monitor_pid();
    let before = descriptors_of(monitor);
    for i in 0..100 {
        let attach_id = format!("c{i}");
        let mut client = attach(&mut daemon, "a", &attach_id);
        client.stdin.write_all(b"hello\n").expect("write");
        let call = daemon.exec_call("a", &format!("e{i}"), "exec sleep 1000");
        let (id, pipe) = daemon.exec(call);
        if i % 2 == 0 {
            read_exactly(&client.stdout, "hello\n");
            end_stdin(&mut daemon, "a", &attach_id);
        }
        drop((client.stdin, client.stdout, client.stderr));
        let call = Call::HangUpExec { exec_id: format!("e{i}"), grace_ms: 20_000 };
        assert_eq!(daemon.call(call), Ok(Answer::Done));
        daemon.answer(id).expect("it ran");
        assert_eq!(daemon.answer(client.id), Ok(Answer::Done));
        assert_eq!(read_all(pipe), "");
    }
    wait_until("all is closed", || descriptors_of(monitor) == before);
    wait_until_idle(&daemon);
}

#[test]
fn a_daemon_that_dies_leaves_no_client_and_no_gap_in_the_log() {
    let mut daemon = Daemon::start();
    daemon.fifo("a/says");
    let call = CreateCall { stdin: true, stdin_once: true, ..daemon.create_call("a", PARROT) };
    daemon.create(call).expect("create");
    daemon.start_container("a");
    say(&daemon, "a", "one");
    wait_until("it runs", || daemon.log("a").contains("F one!"));
    let before = descriptors_of(daemon.monitor_pid());
    let clients: Vec<_> = (0..10).map(|i| attach(&mut daemon, "a", &format!("c{i}"))).collect();
    assert_eq!(descriptors_of(daemon.monitor_pid()), before + 30);
    daemon.disconnect();
    drop(clients);
    daemon.reconnect();
    wait_until("all is closed", || descriptors_of(daemon.monitor_pid()) == before);
    wait_until_idle(&daemon);
    say(&daemon, "a", "two");
    let client = attach(&mut daemon, "a", "c0");
    say(&daemon, "a", "three");
    say(&daemon, "a", "end");
    assert_eq!(daemon.exit_of("a").code, 3);
    assert!(read_all(client.stdout).ends_with("three\n"));
    let log = daemon.log("a");
    let heard: Vec<&str> = log.lines().filter_map(|line| line.strip_prefix("stdout F ")).collect();
    assert_eq!(heard, ["one", "two", "three"]);
}
