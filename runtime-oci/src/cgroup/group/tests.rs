use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use super::super::fixture::of_files;
use super::*;

/// A process that answers as long as it lives.
struct Echo(Child);

impl Echo {
    fn new() -> Self {
        let mut command = Command::new("cat");
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    fn answers(&mut self) -> bool {
        let mut answer = String::new();
        let asked = self.0.stdin.as_mut().unwrap().write_all(b"still there?\n");
        asked.is_ok() && BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap() > 0
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nobody_is_killed_by_number_where_the_group_kills() {
    let mut stranger = Echo::new();
    let number = stranger.pid().to_string();
    let files = [("cgroup.procs", number.as_str()), ("cgroup.kill", "")];
    of_files(CgroupMode::V2, &[], &files, |layout, below| {
        kill(layout, below, &[stranger.pid()]).unwrap();
        assert_eq!(text(layout.dir("", below).as_deref(), "cgroup.kill"), "1");
    });
    assert!(stranger.answers());
}

#[test]
fn who_has_the_number_of_a_process_that_has_gone_is_spared() {
    let (mut stranger, mut member) = (Echo::new(), Echo::new());
    let number = member.pid().to_string();
    of_files(CgroupMode::V1, &["pids"], &[("cgroup.procs", &number)], |layout, below| {
        kill(layout, below, &[stranger.pid(), member.pid()]).unwrap();
    });
    assert!(stranger.answers());
    assert!(!member.0.wait().unwrap().success());
}

#[test]
fn frozen_groups_are_thawed_with_those_below() {
    for (mode, file, frozen, thawed) in
        [(CgroupMode::V1, "freezer.state", "FROZEN", "THAWED"), (CgroupMode::V2, "cgroup.freeze", "1", "0")]
    {
        of_files(mode, &["freezer"], &[(file, frozen)], |layout, below| {
            let dir = layout.dir("freezer", below).unwrap();
            fs::create_dir(dir.join("nested")).unwrap();
            fs::write(dir.join("nested").join(file), frozen).unwrap();
            thaw(layout, below);
            assert_eq!(
                (text(Some(&dir), file), text(Some(&dir.join("nested")), file)),
                (thawed.into(), thawed.into())
            );
        });
    }
}

#[test]
fn every_controller_that_a_pod_can_be_limited_by_is_passed_on() {
    for controller in ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "misc", "rdma"] {
        let files = [("cgroup.controllers", controller), ("cgroup.subtree_control", "")];
        of_files(CgroupMode::V2, &[], &files, |layout, below| {
            let group = layout.dir("", below).unwrap();
            delegate(&group, Path::new("pod"));
            assert_eq!(text(Some(&group), "cgroup.subtree_control"), format!("+{controller}"));
        });
    }
}
