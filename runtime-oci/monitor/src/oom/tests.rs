use std::fs;

use super::*;

#[test]
fn both_versions_of_the_counter_are_read() {
    assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
    assert_eq!(count_in("low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"), Some(1));
    assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\n"), Some(0));
}

#[test]
fn only_kills_after_the_start_count_and_missing_files_count_nothing() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("memory.oom_control");
    fs::write(&path, "oom_kill 5\n").expect("write");
    let poll = Poll::new().expect("epoll");
    let missing = dir.path().join("missing");
    let mut kills = OomKills::open([path.as_path(), &missing].into_iter(), &poll, 1);
    assert_eq!(kills.count(), 0);
    fs::write(&path, "oom_kill 7\n").expect("write");
    assert_eq!(kills.count(), 2);
}
