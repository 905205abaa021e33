//! User namespaces. Only a process with one thread can enter one, so a child makes it, and waits while it is set up.
//!
//! ```text
//! clone3(NEWUSER, …) ─ child waits for the end of a pipe ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ (ends, with the daemon at the latest)
//!        └─ daemon: uid_map, gid_map ─ enters the others ─ pins all by /proc/<child>/ns/*
//! ```

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use linkspan_image::IdMap;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Uid;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, set_thread_res_uid};

use super::{Error, IPC, NETWORK, USER, UTS, sys};

/// A child that keeps fresh namespaces there until it is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    pid: i32,
    /// The child ends when this is closed, with the daemon if not before.
    _alive: OwnedFd,
}

impl Holder {
    /// A user namespace with these users and groups, and beside it the namespaces of `flags`, owned by it.
    pub(crate) fn new(users: IdMap, flags: UnshareFlags) -> Result<Self, Error> {
        let (end, alive) = pipe_with(PipeFlags::CLOEXEC).map_err(Error::step("making a pipe"))?;
        // ENOSPC and EUSERS are limits: `user.max_user_namespaces`, or the depth of 32.
        let pid = sys::spawn_holder(flags | UnshareFlags::NEWUSER, end.as_fd())
            .map_err(Error::step("making a user namespace (sysctl user.max_user_namespaces limits them)"))?;
        let holder = Self { pid, _alive: alive };
        let line = format!("0 {} {}\n", users.host_id, users.length);
        for name in ["uid_map", "gid_map"] {
            let path = PathBuf::from(format!("/proc/{pid}/{name}"));
            fs::write(&path, &line).map_err(Error::io("mapping users by", &path))?;
        }
        Ok(holder)
    }

    /// Moves the calling thread into those of the namespaces that a thread can enter.
    pub(super) fn enter(&self, flags: UnshareFlags) -> Result<(), Error> {
        use LinkNameSpaceType::{HostNameAndNISDomainName, InterProcessCommunication, Network};
        let all = [
            (UnshareFlags::NEWNET, NETWORK, Network),
            (UnshareFlags::NEWIPC, IPC, InterProcessCommunication),
            (UnshareFlags::NEWUTS, UTS, HostNameAndNISDomainName),
        ];
        for (_, name, kind) in all.into_iter().filter(|(flag, ..)| flags.contains(*flag)) {
            let path = self.file(name);
            let file = File::open(&path).map_err(Error::io("opening namespace", &path))?;
            move_into_link_name_space(file.as_fd(), Some(kind))
                .map_err(|error| Error::io("entering namespace", &path)(error.into()))?;
        }
        Ok(())
    }

    /// The namespace's file by the kernel's name; good while `self` lives.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/{name}", self.pid))
    }

    /// The user namespace's file; good while `self` lives.
    pub(crate) fn user_file(&self) -> PathBuf {
        self.file(USER)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        sys::reap(self.pid);
    }
}

/// Does `work` as root of a user namespace, for the checks that look at who somebody is and not at what he may do. The
/// calling thread alone changes; it can do little else meanwhile.
pub(super) fn as_root_of<T>(user: IdMap, work: impl FnOnce() -> T) -> Result<T, Error> {
    let failed = || Error::step::<io::Error>("acting as root of the pod's user namespace");
    let become_user = |uid: u32| set_thread_res_uid(None, Uid::from_raw(uid), None);
    let own = rustix::process::geteuid();
    become_user(user.host_id).map_err(|error| failed()(error.into()))?;
    let result = work();
    become_user(own.as_raw()).map_err(|error| failed()(error.into()))?;
    Ok(result)
}
