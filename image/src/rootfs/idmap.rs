//! Root file systems of pods with a user namespace: the layers keep their owners on the disk and are seen with others.
//!
//! ```text
//! layers/ mapped, attached nowhere ─ overlay of what is below its descriptor ─▶ the target
//! ```
//! Overlayfs keeps private copies of the mounts that its layers are on, the mapping with them. The mapped mount itself is
//! attached nowhere, so that a crash leaves nothing, and nobody can write through it. Kernels before 6.15 make no overlay
//! of such a mount; for them it is in the mount table of a scratch thread, and goes with that:
//!
//! ```text
//! scratch thread ─ own mount table ─ layers/ mapped, over itself ─ overlay ─ detached copy ─▶ moved to the target
//! ```
//! The copy of a large mount table takes milliseconds and everybody's lock.

mod sys;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::CWD;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};
use serde::{Deserialize, Serialize};

use super::overlay;
use crate::Error;

/// Users and groups of a user namespace: `n` in it is `host_id + n` on the host, as long as `n` is below `length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    pub host_id: u32,
    pub length: u32,
}

impl IdMap {
    /// On the host; `None` if it is not mapped.
    #[must_use]
    pub fn to_host(self, id: u32) -> Option<u32> {
        (id < self.length).then(|| self.host_id.checked_add(id)).flatten()
    }
}

/// How much of what is mounted at and below a path can be seen with other owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mappable {
    /// The mount that the path is on; not all of those below it.
    Top,
    /// All of them.
    All,
}

/// Whether mounts with the owners of `user_namespace` (a namespace file) can be made of `path`. Makes one and lets go of
/// it. Blocking.
///
/// # Errors
/// [`Error::NotMappable`] says what is in the way.
pub fn mappable(path: &Path, user_namespace: &Path) -> Result<Mappable, Error> {
    let userns = File::open(user_namespace).map_err(Error::io("opening user namespace", user_namespace))?;
    match mapped(path, userns.as_fd(), true) {
        Ok(_) => Ok(Mappable::All),
        Err(_) => mapped(path, userns.as_fd(), false).map(|_| Mappable::Top),
    }
}

/// Mounts `plan`, its lower directories below `layers_dir`, with the owners of the user namespace. Blocking.
pub(crate) fn mount(plan: &overlay::Plan, layers_dir: &Path, user_namespace: &Path) -> Result<(), Error> {
    if overlay::is_overlay_mount(&plan.target)? {
        return Ok(());
    }
    let userns = File::open(user_namespace).map_err(Error::io("opening user namespace", user_namespace))?;
    let layers = mapped(layers_dir, userns.as_fd(), false)?;
    match overlay::mount(&seen_by(plan, layers_dir, &layers)) {
        Ok(()) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "no overlay of an unattached mount: by a mount table of its own");
            by_scratch_thread(plan, layers_dir, &userns)
        }
    }
}

/// The same with the layers below another mount of their directory.
fn seen_by(plan: &overlay::Plan, layers_dir: &Path, layers: &OwnedFd) -> overlay::Plan {
    let root = PathBuf::from(format!("/proc/self/fd/{}", layers.as_raw_fd()));
    let moved =
        |dir: &PathBuf| dir.strip_prefix(layers_dir).map_or_else(|_| dir.clone(), |dir| root.join(dir));
    overlay::Plan { lower_dirs: plan.lower_dirs.iter().map(moved).collect(), ..plan.clone() }
}

fn by_scratch_thread(plan: &overlay::Plan, layers_dir: &Path, userns: &File) -> Result<(), Error> {
    let made = std::thread::scope(|scope| {
        let work = || detached(plan, layers_dir, userns);
        let thread = std::thread::Builder::new().name("rootfs".to_owned()).spawn_scoped(scope, work);
        let thread = thread.map_err(Error::io("starting a thread to mount", &plan.target))?;
        let lost = |_| Err(Error::TaskLost { what: "mounting a root file system".to_owned() });
        thread.join().unwrap_or_else(lost)
    })?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&made, "", CWD, &plan.target, flags)
        .map_err(Error::io("mounting the root file system at", &plan.target))
}

/// Makes the overlay in a mount table that nobody else sees, and takes it out of there.
fn detached(plan: &overlay::Plan, layers_dir: &Path, userns: &File) -> Result<OwnedFd, Error> {
    sys::unshare_mounts().map_err(Error::io("leaving the mount table, to mount", &plan.target))?;
    // Nothing of what follows may get out.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(Error::io("making a mount table private, to mount", &plan.target))?;
    let layers = mapped(layers_dir, userns.as_fd(), false)?;
    move_mount(&layers, "", CWD, layers_dir, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(Error::io("mounting with other owners", layers_dir))?;
    overlay::mount(plan)?;
    clone(&plan.target, false)
}

fn mapped(path: &Path, userns: std::os::fd::BorrowedFd<'_>, recursive: bool) -> Result<OwnedFd, Error> {
    let tree = clone(path, recursive)?;
    sys::map_owners(tree.as_fd(), userns, recursive)
        .map_err(|error| Error::NotMappable { path: path.to_owned(), source: Arc::new(error) })?;
    Ok(tree)
}

fn clone(path: &Path, recursive: bool) -> Result<OwnedFd, Error> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags).map_err(Error::io("copying the mount of", path))
}

#[cfg(test)]
pub(crate) mod tests;
