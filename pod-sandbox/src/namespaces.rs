//! A pod's own user, network, IPC and UTS namespaces: made on a scratch thread, kept by bind mounts.
//!
//! ```text
//! scratch thread ─ unshare ─ hostname ─ lo up ─ sysctls ─ bind /proc/thread-self/ns/* ─ (thread ends)
//! ```
//! The thread is never reused: nothing of the daemon may run in a pod's namespace. With a user namespace, which no thread
//! can enter, a process of its own makes them all (`user.rs`), and the thread enters those that it can.

mod error;
mod stats;
pub(crate) mod sys;
mod sysctl;
#[cfg(test)]
mod tests;
pub(crate) mod user;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use linkspan_files::{Access, make_dir};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use rustix::system::sethostname;
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use linkspan_image::IdMap;
use linkspan_runtime_oci::Process;

use crate::network::netlink::{self, route};

pub use error::Error;
pub use stats::{InterfaceStats, interface_stats};
pub use sysctl::{apply_interface_sysctls, check_sysctl};
use user::Holder;

/// The files in the pod's directory that hold the namespaces, with the kernel's names for them.
const NETWORK: &str = "net";
const IPC: &str = "ipc";
const UTS: &str = "uts";
const USER: &str = "user";

/// Which namespaces a pod gets, and what is set in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NamespacePlan {
    /// Made if missing; the pins become `user`, `net`, `ipc` and `uts` in it.
    pub dir: PathBuf,
    /// With a user namespace: its users and groups. It owns the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<IdMap>,
    pub network: bool,
    pub ipc: bool,
    pub uts: bool,
    /// Only with `uts`.
    pub hostname: Option<String>,
    /// All are checked before anything is made. Those of an interface other than `lo`
    /// wait for [`apply_interface_sysctls`], since the interface comes later.
    pub sysctls: BTreeMap<String, String>,
}

impl NamespacePlan {
    /// Where the namespaces will be, once they are made.
    #[must_use]
    pub fn pins(&self) -> Pinned {
        let pin = |name, wanted: bool| wanted.then(|| self.dir.join(name));
        Pinned {
            user: pin(USER, self.user.is_some()),
            network: pin(NETWORK, self.network),
            ipc: pin(IPC, self.ipc),
            uts: pin(UTS, self.uts),
        }
    }
}

/// The paths that hold a pod's namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<PathBuf>,
    pub network: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
}

/// Makes and pins the namespaces. A failure, or a caller that leaves, leaves nothing pinned.
pub async fn create(plan: &NamespacePlan) -> Result<Pinned, Error> {
    for name in plan.sysctls.keys() {
        check_sysctl(name, plan.network, plan.ipc)?;
    }
    let plan = plan.clone();
    let dir = plan.dir.clone();
    let (answer, made) = oneshot::channel();
    std::thread::Builder::new()
        .name("namespaces".to_owned())
        .spawn(move || {
            let result = make(&plan).inspect_err(|_| undo(&plan.dir));
            // Nobody to hand the pins to is as good as a failure.
            if answer.send(result).is_err() {
                undo(&plan.dir);
            }
        })
        .map_err(Error::step::<io::Error>("starting the namespace thread"))?;
    made.await.map_err(|_| Error::Lost { path: dir })?
}

/// Does `work`, which must not wait for long, on a scratch thread in another network namespace.
pub(crate) async fn in_network<T: Send + 'static>(
    netns: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let enter =
        |path: &Path| netlink::within(path, work).map_err(Error::io("entering network namespace", path));
    off_the_async_threads(netns, enter).await
}

/// Lets go of whatever is pinned in `dir` and removes it. Succeeds if it is gone.
pub async fn unpin(dir: &Path) -> Result<(), Error> {
    off_the_async_threads(dir, unpin_now).await
}

async fn off_the_async_threads<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce(&Path) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (path, lost) = (path.to_path_buf(), Error::Lost { path: path.to_path_buf() });
    tokio::task::spawn_blocking(move || work(&path)).await.unwrap_or(Err(lost))
}

/// Holds the PID namespace of a process at `path`, in a directory that is there.
///
/// # Errors
/// [`Error::Io`], also if the process has ended.
pub(crate) async fn pin_pid(process: Process, path: &Path) -> Result<(), Error> {
    let pin = move |path: &Path| {
        let namespace = PathBuf::from(format!("/proc/{}/ns/pid", process.pid));
        let (dir, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
        pin(dir, &name.to_string_lossy(), &namespace)?;
        // Only now it is certain whose namespace it is.
        match process.is_alive() {
            true => Ok(()),
            false => {
                remove_pin(path)?;
                Err(Error::io("pinning", namespace)(io::ErrorKind::NotFound.into()))
            }
        }
    };
    off_the_async_threads(path, pin).await
}

/// Lets go of one that is pinned at `path`. Succeeds if it is gone.
pub(crate) async fn unpin_file(path: &Path) -> Result<(), Error> {
    off_the_async_threads(path, remove_pin).await
}

fn make(plan: &NamespacePlan) -> Result<Pinned, Error> {
    make_dir(&plan.dir, Access::Private).map_err(Error::io("making directory", &plan.dir))?;
    let mut flags = UnshareFlags::empty();
    flags.set(UnshareFlags::NEWNET, plan.network);
    flags.set(UnshareFlags::NEWIPC, plan.ipc);
    flags.set(UnshareFlags::NEWUTS, plan.uts);
    let holder = plan.user.map(|users| Holder::new(users, flags)).transpose()?;
    match &holder {
        Some(holder) => holder.enter(flags)?,
        None => sys::unshare(flags).map_err(Error::step("unsharing namespaces"))?,
    }
    if let (true, Some(hostname)) = (plan.uts, &plan.hostname) {
        sethostname(hostname.as_bytes()).map_err(Error::step("setting the hostname"))?;
    }
    if plan.network {
        route::loopback_up().map_err(Error::step::<io::Error>("bringing up lo"))?;
    }
    sysctl::write_early(&plan.sysctls, plan.user)?;
    let own = |name: &str| PathBuf::from(format!("/proc/thread-self/ns/{name}"));
    let pin = |name: &str, wanted: bool| wanted.then(|| pin(&plan.dir, name, &own(name))).transpose();
    Ok(Pinned {
        network: pin(NETWORK, plan.network)?,
        ipc: pin(IPC, plan.ipc)?,
        uts: pin(UTS, plan.uts)?,
        user: holder.map(|holder| self::pin(&plan.dir, USER, &holder.file(USER))).transpose()?,
    })
}

fn undo(dir: &Path) {
    if let Err(error) = unpin_now(dir) {
        tracing::warn!(dir = %dir.display(), %error, "namespaces left pinned");
    }
}

fn pin(dir: &Path, name: &str, namespace: &Path) -> Result<PathBuf, Error> {
    let path = dir.join(name);
    // A crash may have left an older pin here; its record is gone, or we would not make another.
    unmount_all(&path)?;
    fs::File::create(&path).map_err(Error::io("making", &path))?;
    mount_bind(namespace, &path).map_err(|error| Error::io("pinning namespace at", &path)(error.into()))?;
    Ok(path)
}

fn unpin_now(dir: &Path) -> Result<(), Error> {
    for name in [NETWORK, IPC, UTS, USER] {
        remove_pin(&dir.join(name))?;
    }
    // Somebody else's files in the directory are theirs to remove.
    match fs::remove_dir(dir) {
        Err(error) if !is_gone_or_in_use(&error) => Err(Error::io("removing", dir)(error)),
        _ => Ok(()),
    }
}

fn remove_pin(path: &Path) -> Result<(), Error> {
    unmount_all(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", path)(error)),
        _ => Ok(()),
    }
}

fn is_gone_or_in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty)
}

/// Unmounts until nothing is mounted: a crash between pin and record can leave two on one path.
fn unmount_all(path: &Path) -> Result<(), Error> {
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // EINVAL: not a mount point.
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(Error::io("unmounting", path)(error.into())),
        }
    }
}
