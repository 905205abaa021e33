//! A disk of logs that does not answer.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use linkspan_monitor::protocol::{Answer, Call, FailureKind};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::harness::Daemon;

/// A file system without a server. Whoever looks into it waits until it is dropped.
struct Hung {
    path: PathBuf,
    server: Option<File>,
}

impl Hung {
    /// `None`, said aloud, if this machine lets nobody make one.
    fn mount(path: &Path) -> Option<Self> {
        std::fs::create_dir(path).expect("a directory");
        let server = File::options().read(true).write(true).open("/dev/fuse").ok();
        let mounted = server.and_then(|server| {
            let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
            let options = CString::new(options).expect("no NUL");
            mount("linkspan-test", path, "fuse", MountFlags::empty(), options.as_c_str()).ok()?;
            Some(server)
        });
        if mounted.is_none() {
            eprintln!("SKIP: no root, or no FUSE");
        }
        Some(Self { path: path.to_owned(), server: Some(mounted?) })
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.server.take());
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}

#[test]
fn an_exit_tells_how_much_output_a_full_disk_did_not_take() {
    let mut daemon = Daemon::start();
    let full = daemon.pod_dir().join("full");
    std::fs::create_dir(&full).expect("a directory");
    if mount("linkspan-test", &full, "tmpfs", MountFlags::empty(), c"size=4k").is_err() {
        return eprintln!("SKIP: no root");
    }
    let mut create = daemon.create_call("a", "yes | head -c 1000000");
    create.log_path = Some(full.join("a.log").into());
    daemon.create(create).expect("create");
    daemon.start_container("a");
    let exit = daemon.exit_of("a");
    unmount(&full, UnmountFlags::DETACH).expect("umount");
    // 500,000 lines of 50 bytes each, less what fits.
    assert!(exit.log_bytes_dropped > 20_000_000, "{exit:?}");
    daemon.run("b", "echo all of it");
    assert_eq!(daemon.exit_of("b").log_bytes_dropped, 0);
}

#[test]
fn a_log_that_cannot_be_opened_costs_its_own_create_and_holds_nothing_else_up() {
    let mut daemon = Daemon::start();
    let Some(hung) = Hung::mount(&daemon.pod_dir().join("hung")) else { return };
    let mut without = daemon.create_call("other", "sleep 1000 & wait; exit 3");
    without.log_path = None;
    let other = daemon.create(without).expect("it has no log");
    daemon.start_container("other");

    let mut create = daemon.create_call("a", "exit 0");
    create.log_path = Some(hung.path.join("a.log").into());
    create.deadline_ms = 1000;
    let hanging = daemon.send(Call::Create(create), &[]);
    let (exec, _output) = daemon.exec(daemon.exec_call("other", "e", "exit 4"));
    assert_eq!(
        daemon.answer(exec),
        Ok(Answer::ExecEnded { code: 4, timed_out: false }),
        "an exec is not held up"
    );
    assert!(!daemon.has_answer(hanging));
    let failure = daemon.answer(hanging).expect_err("no log");
    assert_eq!(failure.kind, FailureKind::Io);
    assert!(failure.message.contains("a.log: its disk does not answer"), "{}", failure.message);
    other.signal(libc::SIGKILL).expect("signal");
    assert_eq!(daemon.exit_of("other").code, 137, "an exit is seen");

    drop(hung);
    daemon.run("a", "echo one; exit 0");
    assert_eq!(daemon.exit_of("a").code, 0);
    assert_eq!(daemon.log("a"), "stdout F one\n");
    assert_eq!(daemon.call(Call::Shutdown), Ok(Answer::Done));
    daemon.wait_for_the_end();
}
