use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, test_kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::Null).stdout(Stdio::Piped).stderr(Stdio::Piped);
    command
}

async fn said(command: &mut Command) -> String {
    let output = command.spawn().unwrap().wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_program_has_its_arguments_environment_directory_and_streams() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = shell("read line; echo \"$line $1 $A ${HOME-none}\"; pwd; echo aside >&2");
    command.args(["zero", "one two"]).env_clear().env("A", "a=b").current_dir(dir.path()).stdin(Stdio::Piped);
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"input\n").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let expected = format!("input one two a=b none\n{}\n", dir.path().display());
    assert_eq!((String::from_utf8(output.stdout).unwrap(), &output.stderr[..]), (expected, &b"aside\n"[..]));
}

#[tokio::test]
async fn the_end_is_told_by_code_or_signal_and_more_than_once() {
    let mut child = shell("exit 7").spawn().unwrap();
    assert!(child.id().is_some());
    assert_eq!(child.wait().await.unwrap().code(), Some(7));
    assert_eq!((child.wait().await.unwrap().code(), child.id()), (Some(7), None));
    let mut child = shell("kill -TERM $$").spawn().unwrap();
    assert_eq!(child.wait().await.unwrap().signal(), Some(15));
    let mut child = shell("sleep 1000").spawn().unwrap();
    child.kill().await.unwrap();
    assert_eq!(child.wait().await.unwrap().signal(), Some(9));
}

#[tokio::test]
async fn what_cannot_be_executed_is_an_error_of_the_start() {
    let kind = |command: &mut Command| command.spawn().unwrap_err().kind();
    assert_eq!(kind(&mut Command::new("/no/such/program")), io::ErrorKind::NotFound);
    assert_eq!(kind(&mut Command::new("no-such-program")), io::ErrorKind::NotFound);
    assert_eq!(kind(&mut Command::new("/etc/passwd")), io::ErrorKind::PermissionDenied);
    assert_eq!(kind(Command::new("true").current_dir("/no/such/directory")), io::ErrorKind::NotFound);
    assert_eq!(kind(Command::new("true").arg("a\0b")), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_child_that_is_dropped_is_killed_if_its_command_says_so_and_reaped_in_any_case() {
    for (kill, line) in [(true, "sleep 1000"), (false, "exit 0")] {
        let child = shell(line).kill_on_drop(kill).spawn().unwrap();
        let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        drop(child);
        let gone = async {
            while test_kill_process(pid).is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), gone).await.expect("it is reaped");
    }
}

#[tokio::test]
async fn signals_that_the_daemon_ignores_or_blocks_are_the_programs_own() {
    // The test's process ignores SIGPIPE, as all programs in Rust do.
    let status = said(&mut shell("grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status")).await;
    for name in ["SigBlk", "SigIgn"] {
        assert!(status.contains(&format!("{name}:\t0000000000000000")), "{status}");
    }
    let group = said(shell("cut -d' ' -f1,5 /proc/$$/stat").own_group()).await;
    let (pid, group) = group.trim().split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[tokio::test]
async fn a_stream_may_be_a_descriptor() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut child = shell("echo to the socket >&0").stdin(OwnedFd::from(theirs)).spawn().unwrap();
    child.wait().await.unwrap();
    let mut text = String::new();
    tokio::net::UnixStream::from_std(ours).unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "to the socket\n");
}

#[tokio::test]
async fn the_raised_limit_of_open_files_is_the_daemons_alone() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(1023), maximum: hard }).unwrap();
    let raised = open_files::raise().unwrap();
    assert_eq!((raised.soft, raised.hard), (hard.unwrap_or(u64::MAX), hard.unwrap_or(u64::MAX)));
    assert_eq!(open_files::limit(), raised);
    assert_eq!(said(&mut shell("ulimit -Sn")).await, "1023\n");
}

#[test]
fn a_program_can_be_run_without_a_runtime() {
    let output = Command::new("cat").stdout(Stdio::Piped).run_blocking(&[b'x'; 200_000]).unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), 200_000);
    assert!(Command::new("true").run_blocking(&[b'x'; 200_000]).unwrap().status.success());
}
