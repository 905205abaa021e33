use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;

/// Which of two streams and the end of the time is seen first is a matter of chance.
const SEVERAL: usize = 10;

/// What is kept of a process that writes to both streams, ends, and leaves both held open, as by a child of it.
async fn outlived_by_its_child(ended: Arc<AtomicUsize>) -> [Vec<u8>; 2] {
    let (stdout, stdout_end) = Collector::pipe("stdout").expect("a pipe");
    let (stderr, stderr_end) = Collector::pipe("stderr").expect("a pipe");
    let mut ends = [File::from(stdout_end), File::from(stderr_end)];
    let exec = async {
        for (end, words) in ends.iter_mut().zip(["out", "err"]) {
            end.write_all(words.as_bytes()).expect("room in the pipe");
        }
        if ended.fetch_add(1, Ordering::Relaxed) + 1 == SEVERAL {
            // All tasks of this runtime are held up by it: the time of the others is over then.
            std::thread::sleep(DRAIN);
        }
        Ok(ExecExit { code: 0, timed_out: false })
    };
    collect("a test", exec, [stdout, stderr], 100).await.expect("both streams").0
}

#[tokio::test]
async fn what_came_in_time_is_read_by_a_daemon_that_was_held_up_until_time_was_over() {
    let ended = Arc::new(AtomicUsize::new(0));
    let mut calls: JoinSet<_> = (0..SEVERAL).map(|_| outlived_by_its_child(Arc::clone(&ended))).collect();
    while let Some(kept) = calls.join_next().await {
        assert_eq!(kept.expect("no panic"), [b"out", b"err"]);
    }
}
