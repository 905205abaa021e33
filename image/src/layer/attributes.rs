//! Owner, mode, extended attributes and times, set without following a symlink.
//!
//! The order matters: a change of owner clears set-user-ID bits and `security.capability`, and every write
//! changes the times.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::archive::Member;
use super::fault::{Fault, show};
use super::pax::Time;

/// Tells overlayfs that a directory hides what lies below it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// Access and modification time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    accessed: Time,
    modified: Time,
}

/// What a member says about a file, besides its content.
#[derive(Debug)]
pub(crate) struct Attributes {
    uid: Uid,
    gid: Gid,
    mode: Mode,
    pub(crate) times: Times,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    pub(crate) fn of(member: &Member) -> Result<Self, Fault> {
        // The kernel takes the all-ones ID for "leave as it is".
        let id = |id: u64| {
            u32::try_from(id)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or_else(|| Fault::bad(format!("{}: owner {id} out of range", show(&member.path))))
        };
        Ok(Self {
            uid: Uid::from_raw(id(member.uid)?),
            gid: Gid::from_raw(id(member.gid)?),
            mode: Mode::from(member.mode),
            times: Times { accessed: member.atime.unwrap_or(member.mtime), modified: member.mtime },
            xattrs: member.xattrs.iter().filter(|(name, _)| wanted(name)).cloned().collect(),
        })
    }

    /// All but the times, on an open file or directory.
    pub(crate) fn apply(&self, file: impl AsFd, name: &[u8]) -> Result<(), Fault> {
        let file = file.as_fd();
        rustix::fs::fchown(file, Some(self.uid), Some(self.gid))
            .map_err(Fault::disk("setting the owner of", name))?;
        rustix::fs::fchmod(file, self.mode).map_err(Fault::disk("setting the mode of", name))?;
        for (key, value) in &self.xattrs {
            checked(key, rustix::fs::fsetxattr(file, &key[..], value, XattrFlags::empty()), name)?;
        }
        Ok(())
    }

    /// Everything, on an entry that cannot be opened: a symlink (which has no mode), a device, a fifo.
    pub(crate) fn apply_at(
        &self,
        dir: impl AsFd,
        base: &[u8],
        name: &[u8],
        has_mode: bool,
    ) -> Result<(), Fault> {
        let dir = dir.as_fd();
        rustix::fs::chownat(dir, base, Some(self.uid), Some(self.gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Fault::disk("setting the owner of", name))?;
        if has_mode {
            rustix::fs::chmodat(dir, base, self.mode, AtFlags::empty())
                .map_err(Fault::disk("setting the mode of", name))?;
        }
        for (key, value) in &self.xattrs {
            let path = entry_path(dir, base);
            checked(key, rustix::fs::lsetxattr(&path[..], &key[..], value, XattrFlags::empty()), name)?;
        }
        rustix::fs::utimensat(dir, base, &self.times.timestamps(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Fault::disk("setting the times of", name))
    }
}

impl Times {
    pub(crate) fn apply(&self, file: impl AsFd, name: &[u8]) -> Result<(), Fault> {
        rustix::fs::futimens(file, &self.timestamps()).map_err(Fault::disk("setting the times of", name))
    }

    fn timestamps(&self) -> Timestamps {
        let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) };
        Timestamps { last_access: spec(self.accessed), last_modification: spec(self.modified) }
    }
}

pub(crate) fn set_opaque(dir: impl AsFd, name: &[u8]) -> Result<(), Fault> {
    rustix::fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty()).map_err(Fault::disk("making opaque", name))
}

pub(crate) fn is_opaque(dir: impl AsFd) -> bool {
    let mut value = [0; 2];
    rustix::fs::fgetxattr(dir, OPAQUE, &mut value[..]).is_ok_and(|length| &value[..length] == b"y")
}

/// Gives `to` the owner, mode, attributes and times of `from`. overlayfs's own attributes stay where they are.
pub(crate) fn copy(from: impl AsFd, to: impl AsFd, name: &[u8]) -> Result<(), Fault> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let stat = rustix::fs::fstat(from).map_err(Fault::disk("examining", name))?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid)).map_err(Fault::disk("setting the owner of", name))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))
        .map_err(Fault::disk("setting the mode of", name))?;
    for key in keys(from).map_err(Fault::disk("listing the attributes of", name))? {
        if wanted(&key) {
            let value = value(from, &key).map_err(Fault::disk("reading an attribute of", name))?;
            checked(&key, rustix::fs::fsetxattr(to, &key[..], &value, XattrFlags::empty()), name)?;
        }
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec.cast_signed() },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec.cast_signed() },
    };
    rustix::fs::futimens(to, &times).map_err(Fault::disk("setting the times of", name))
}

/// `trusted.*` belongs to the host (overlayfs keeps its own marks there), and SELinux labels come with the
/// mount.
fn wanted(key: &[u8]) -> bool {
    !key.starts_with(b"trusted.") && key != b"security.selinux"
}

/// A file system or file type that has no such attribute is no reason to refuse an image.
fn checked(key: &[u8], result: rustix::io::Result<()>, name: &[u8]) -> Result<(), Fault> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::PERM) => {
            tracing::debug!(name = show(name), attribute = show(key), "extended attribute left out");
            Ok(())
        }
        Err(Errno::RANGE | Errno::TOOBIG) => Err(Fault::bad(format!("{}: bad attribute", show(name)))),
        other => other.map_err(Fault::disk("setting an attribute of", name)),
    }
}

fn keys(file: BorrowedFd<'_>) -> rustix::io::Result<Vec<Vec<u8>>> {
    // The kernel's own limit for a list of names.
    let mut list = vec![0; 1 << 16];
    let length = match rustix::fs::flistxattr(file, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    Ok(list[..length].split(|&b| b == 0).filter(|key| !key.is_empty()).map(<[u8]>::to_vec).collect())
}

fn value(file: BorrowedFd<'_>, key: &[u8]) -> rustix::io::Result<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let length = rustix::fs::fgetxattr(file, key, &mut value[..])?;
    value.truncate(length);
    Ok(value)
}

/// A path to an entry of an open directory, for calls that take nothing else.
fn entry_path(dir: BorrowedFd<'_>, base: &[u8]) -> Vec<u8> {
    [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), base].concat()
}
