//! Sysctls of a pod: which may be set, where they live, and when.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use linkspan_image::IdMap;

use super::{Error, user};
use crate::network::netlink;

/// System V IPC, per IPC namespace (kernel, ipc/ipc_sysctl.c).
const IPC_NAMES: [&str; 11] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/msg_next_id",
    "kernel/sem",
    "kernel/sem_next_id",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_next_id",
    "kernel/shm_rmid_forced",
];

/// Whether a pod may set the sysctl: only what lives in a namespace of its own. Pure.
///
/// Both ways of writing a name are known, as in sysctl(8): `net.ipv4.conf.eth0/1.rp_filter` and
/// `net/ipv4/conf/eth0.1/rp_filter`.
pub fn check_sysctl(name: &str, has_net: bool, has_ipc: bool) -> Result<(), Error> {
    let refuse = |reason| Err(Error::Sysctl { name: name.to_owned(), reason });
    let Some(path) = relative_path(name) else {
        return refuse("not a sysctl's name");
    };
    if path.starts_with("net/") {
        if !has_net {
            return refuse("needs a network namespace of the pod's own, and the pod uses the host's");
        }
    } else if path.starts_with("fs/mqueue/") || IPC_NAMES.contains(&path.as_str()) {
        if !has_ipc {
            return refuse("needs an IPC namespace of the pod's own, and the pod uses the host's");
        }
    } else if matches!(path.as_str(), "kernel/hostname" | "kernel/domainname") {
        return refuse("conflicts with the pod's hostname");
    } else {
        return refuse("is not kept per namespace and would change the host");
    }
    Ok(())
}

/// Sets those sysctls that belong to one interface other than `lo`, once the interfaces are there.
/// The others were set by [`super::create`].
pub async fn apply_interface_sysctls(netns: &Path, sysctls: &BTreeMap<String, String>) -> Result<(), Error> {
    let late: BTreeMap<_, _> =
        sysctls.iter().filter(|(name, _)| is_late(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    if late.is_empty() {
        return Ok(());
    }
    for name in late.keys() {
        check_sysctl(name, true, false)?;
    }
    let path = netns.to_path_buf();
    let lost = Error::Lost { path: path.clone() };
    tokio::task::spawn_blocking(move || {
        netlink::within(&path, move || late.iter().try_for_each(|(name, value)| write(name, value)))
            .map_err(Error::io("entering network namespace", &path))?
    })
    .await
    .unwrap_or(Err(lost))
}

/// Writes the sysctls that need no interface, in the calling thread's namespaces.
///
/// Those of an IPC namespace may be written by its owner alone, who is root of the pod's user namespace if it has one
/// (kernel, ipc/ipc_sysctl.c, `ipc_permissions`, since 5.19).
pub(super) fn write_early(sysctls: &BTreeMap<String, String>, user: Option<IdMap>) -> Result<(), Error> {
    let early = sysctls.iter().filter(|(name, _)| !is_late(name));
    early.into_iter().try_for_each(|(name, value)| match (write(name, value), user) {
        (Err(Error::SysctlWrite { source, .. }), Some(user))
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            user::as_root_of(user, || write(name, value))?
        }
        (outcome, _) => outcome,
    })
}

fn write(name: &str, value: &str) -> Result<(), Error> {
    let Some(path) = relative_path(name) else {
        return Err(Error::Sysctl { name: name.to_owned(), reason: "not a sysctl's name" });
    };
    fs::write(PathBuf::from("/proc/sys").join(path), value).map_err(|source| Error::SysctlWrite {
        name: name.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// `net/<family>/{conf,neigh}/<interface>/<name>` of an interface that a plugin makes.
fn is_late(name: &str) -> bool {
    let Some(path) = relative_path(name) else { return false };
    match path.split('/').collect::<Vec<_>>()[..] {
        ["net", _, "conf" | "neigh", interface, _] => !matches!(interface, "all" | "default" | "lo"),
        _ => false,
    }
}

/// The path below `/proc/sys`. The separator that comes first is the separator; the other one
/// then stands for the first (sysctl(8)).
fn relative_path(name: &str) -> Option<String> {
    let path: String = match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'/') => name.to_owned(),
        Some(_) => name.chars().map(swap).collect(),
        None => return None,
    };
    let sane = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    path.split('/').all(sane).then_some(path)
}

fn swap(c: char) -> char {
    match c {
        '.' => '/',
        '/' => '.',
        other => other,
    }
}
