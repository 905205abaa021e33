use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// Starts a shell in a process group of its own, waits for its word on stdout, kills its tree, and waits until every
/// process that holds its stdout is gone: the pipe ends only then.
fn check(script: &str) {
    let mut child =
        Command::new("setsid").args(["sh", "-c", script]).stdout(Stdio::piped()).spawn().expect("setsid sh");
    let mut stdout = child.stdout.take().expect("piped");
    let mut word = [0; 6];
    stdout.read_exact(&mut word).expect("the script says ready");
    let mut tree = Tree::of(Process::of(child.id() as i32).expect("running"));
    let deadline = Instant::now() + Duration::from_secs(20);
    while tree.kill() > 0 {
        assert!(Instant::now() < deadline, "the tree does not die");
    }
    child.wait().expect("wait");
    stdout.read_to_end(&mut Vec::new()).expect("nobody holds the pipe any more");
}

#[test]
fn children_and_their_sessions_die_with_the_root() {
    check("sleep 1000 & setsid sleep 1000 & setsid sh -c 'sleep 1000 & sleep 1000' & echo ready; wait");
}

#[test]
fn what_lost_its_parent_dies_by_its_session() {
    check("(sleep 1000 & sleep 1000 &) ; echo ready; sleep 1000");
}

#[test]
fn a_process_that_is_gone_is_no_tree() {
    let mut child = Command::new("true").spawn().expect("true");
    let process = Process::of(child.id() as i32).expect("not reaped yet");
    child.wait().expect("wait");
    assert_eq!(Tree::of(process).kill(), 0);
}
