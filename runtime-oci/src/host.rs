//! Facts about this process and its host that a spec depends on.

mod sys;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use oci_spec::runtime::Capability;
use rustix::fs::{major, minor};

use crate::error::Error;
use crate::spec::{DeviceInput, DeviceKind};

/// Kernel numbers of the capabilities, `linux/capability.h`.
const CAPABILITIES: [Capability; 41] = {
    use Capability::*;
    [
        Chown,
        DacOverride,
        DacReadSearch,
        Fowner,
        Fsetid,
        Kill,
        Setgid,
        Setuid,
        Setpcap,
        LinuxImmutable,
        NetBindService,
        NetBroadcast,
        NetAdmin,
        NetRaw,
        IpcLock,
        IpcOwner,
        SysModule,
        SysRawio,
        SysChroot,
        SysPtrace,
        SysPacct,
        SysAdmin,
        SysBoot,
        SysNice,
        SysResource,
        SysTime,
        SysTtyConfig,
        Mknod,
        Lease,
        AuditWrite,
        AuditControl,
        Setfcap,
        MacOverride,
        MacAdmin,
        Syslog,
        WakeAlarm,
        BlockSuspend,
        AuditRead,
        Perfmon,
        Bpf,
        CheckpointRestore,
    ]
};

/// Directories of `/dev` that are not the host's devices but somebody's instance of a file system.
const NOT_DEVICES: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];

/// Names (`CAP_…`) of what this process could at most give to a container.
///
/// # Errors
/// [`Error::Io`] if `/proc/self/status` cannot be read.
pub fn bounding_set() -> Result<Vec<String>, Error> {
    Ok(names(capability_mask("CapBnd:")?))
}

/// The lowest `oom_score_adj` that this process may set on others: its own, unless it has `CAP_SYS_RESOURCE`.
///
/// # Errors
/// [`Error::Io`] if `/proc/self` cannot be read.
pub fn oom_score_adj_floor() -> Result<i32, Error> {
    let effective = capability_mask("CapEff:")?;
    if CAPABILITIES
        .iter()
        .enumerate()
        .any(|(bit, name)| *name == Capability::SysResource && effective >> bit & 1 == 1)
    {
        return Ok(-1000);
    }
    let path = "/proc/self/oom_score_adj";
    let text = fs::read_to_string(path).map_err(Error::io(format!("reading {path}")))?;
    text.trim().parse().map_err(|_| malformed(path, &text))
}

/// Every device node below `/dev`: what a privileged container gets.
///
/// # Errors
/// [`Error::Io`] if `/dev` cannot be read; nodes that vanish meanwhile are passed over.
pub fn devices() -> Result<Vec<DeviceInput>, Error> {
    let mut found = Vec::new();
    collect_devices(Path::new("/dev"), Path::new("/dev"), &mut found)?;
    found.sort_by(|a: &DeviceInput, b| a.path.cmp(&b.path));
    Ok(found)
}

/// CRI `Device`: the node at `host_path`, or all nodes below it, seen at `container_path` with `permissions`.
///
/// # Errors
/// [`Error::Io`] if it is not there; [`Error::BadSpec`] if there is no device in it.
pub fn device(host_path: &Path, container_path: &Path, permissions: &str) -> Result<Vec<DeviceInput>, Error> {
    let metadata =
        fs::metadata(host_path).map_err(Error::io(format!("looking at device {}", host_path.display())))?;
    let mut found = Vec::new();
    if metadata.is_dir() {
        collect_devices(host_path, container_path, &mut found)?;
    } else {
        found.extend(node(&metadata, host_path, container_path));
    }
    if found.is_empty() {
        return Err(Error::bad("devices.host_path", format!("{} is not a device", host_path.display())));
    }
    for device in &mut found {
        permissions.clone_into(&mut device.permissions);
    }
    Ok(found)
}

/// Marks every file but stdin, stdout and stderr as closed on exec: what the daemon's own parent left open must not
/// reach runtimes, let alone containers. For the daemon's first steps, before anything is opened on purpose.
///
/// # Errors
/// [`Error::Io`] on a kernel without `close_range` (before 5.11).
pub fn keep_files_from_children() -> Result<(), Error> {
    sys::close_on_exec_from(3).map_err(Error::io("marking inherited files as closed on exec"))
}

/// Major and minor number of the running kernel.
#[must_use]
pub fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn capability_mask(field: &str) -> Result<u64, Error> {
    let path = "/proc/self/status";
    let status = fs::read_to_string(path).map_err(Error::io(format!("reading {path}")))?;
    let mask = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim();
    u64::from_str_radix(mask, 16).map_err(|_| malformed(path, mask))
}

fn names(mask: u64) -> Vec<String> {
    let set = CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1);
    set.map(|(_, capability)| format!("CAP_{capability}")).collect()
}

fn collect_devices(dir: &Path, shown_as: &Path, found: &mut Vec<DeviceInput>) -> Result<(), Error> {
    let entries = fs::read_dir(dir).map_err(Error::io(format!("listing {}", dir.display())))?;
    for entry in entries.flatten() {
        let (name, shown) = (entry.file_name(), shown_as.join(entry.file_name()));
        // Symbolic links are not followed: their targets are found on their own.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() && !NOT_DEVICES.iter().any(|skipped| name == *skipped) {
            collect_devices(&entry.path(), &shown, found)?;
        } else if name != "console" {
            found.extend(node(&metadata, &entry.path(), &shown));
        }
    }
    Ok(())
}

fn node(metadata: &fs::Metadata, host_path: &Path, shown_as: &Path) -> Option<DeviceInput> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => DeviceKind::Char,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => return None,
    };
    Some(DeviceInput {
        path: shown_as.to_str()?.to_owned(),
        host_path: host_path.to_owned(),
        kind,
        major: i64::from(major(metadata.rdev())),
        minor: i64::from(minor(metadata.rdev())),
        file_mode: Some(metadata.permissions().mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: "rwm".to_owned(),
    })
}

fn malformed(path: &str, text: &str) -> Error {
    let source = io::Error::new(io::ErrorKind::InvalidData, format!("not understood: {text:?}"));
    Error::Io { what: format!("reading {path}"), source }
}

#[cfg(test)]
mod tests;
