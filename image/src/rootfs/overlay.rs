//! Overlay mounts by the new mount API: one call per layer, so their number is bounded by overlayfs alone.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount as mount_classic, mount_bind,
    mount_remount, move_mount,
};

use crate::Error;

const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

/// fsconfig takes strings of at most 255 bytes.
const MAX_VALUE_BYTES: usize = 255;

/// One mount, decided.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Top first; at least one.
    pub(crate) lower_dirs: Vec<PathBuf>,
    /// Without one there must be two lower directories.
    pub(crate) writable: Option<Writable>,
    pub(crate) target: PathBuf,
    pub(crate) access: Access,
    pub(crate) selinux_label: Option<String>,
}

/// Where changes go.
#[derive(Clone, Debug)]
pub(crate) struct Writable {
    pub(crate) upper_dir: PathBuf,
    pub(crate) work_dir: PathBuf,
}

/// What may be done through the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
    /// Reading, and nothing else: no devices, no set-user-ID programs, nothing executable.
    Data,
}

impl Access {
    fn attributes(self) -> MountAttrFlags {
        use MountAttrFlags as Attr;
        match self {
            Self::ReadWrite => Attr::empty(),
            Self::ReadOnly => Attr::MOUNT_ATTR_RDONLY,
            Self::Data => {
                Attr::MOUNT_ATTR_RDONLY
                    | Attr::MOUNT_ATTR_NOSUID
                    | Attr::MOUNT_ATTR_NODEV
                    | Attr::MOUNT_ATTR_NOEXEC
            }
        }
    }

    fn flags(self) -> MountFlags {
        match self {
            Self::ReadWrite => MountFlags::empty(),
            Self::ReadOnly => MountFlags::RDONLY,
            Self::Data => MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        }
    }
}

/// Mounts one directory alone, which overlayfs does not take, for reading. Blocking.
pub(crate) fn bind(dir: &Path, target: &Path) -> Result<(), Error> {
    let flags = Access::Data.flags();
    if !is_mount(target)? {
        mount_bind(dir, target).map_err(Error::io("mounting a directory at", target))?;
    }
    mount_remount(target, flags | MountFlags::BIND, "").map_err(Error::io("making read-only", target))
}

/// Mounts. Blocking.
pub(crate) fn mount(plan: &Plan) -> Result<(), Error> {
    if is_overlay_mount(&plan.target)? {
        return Ok(());
    }
    if let Some(writable) = &plan.writable {
        forget_volatile(&writable.work_dir)?;
    }
    let directories = Directories::open(plan)?;
    let failed = |failure: Failure| {
        let source = io::Error::new(failure.errno.kind(), failure.to_text());
        Error::Io { action: "mounting layers at", path: plan.target.clone(), source: Arc::new(source) }
    };
    match with_context(plan, &directories) {
        Ok(()) => Ok(()),
        // `volatile` came with Linux 5.10, `lowerdir+` with 6.5.
        Err(Failure { errno: Errno::INVAL | Errno::NOSYS, said, .. }) => {
            tracing::debug!(%said, "overlayfs does not know the newest options: mounting the old way");
            classic(plan, &directories).map_err(failed)
        }
        Err(failure) => Err(failed(failure)),
    }
}

/// Unmounts all that is mounted on `target`. Not mounted or gone: Ok. Blocking.
pub(crate) fn unmount(target: &Path) -> Result<(), Error> {
    loop {
        match rustix::mount::unmount(target, UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(Errno::BUSY) => {
                tracing::debug!(target = %target.display(), "root file system is busy: detached");
                let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
                rustix::mount::unmount(target, flags).map_err(Error::io("unmounting", target))?;
            }
            Err(errno) => return Err(Error::io("unmounting", target)(errno)),
        }
    }
}

/// What went wrong, and the kernel's own words.
struct Failure {
    errno: Errno,
    step: &'static str,
    said: String,
}

impl Failure {
    fn to_text(&self) -> String {
        let error = io::Error::from(self.errno);
        match self.said.as_str() {
            "" => format!("{}: {error}", self.step),
            said => format!("{}: {error}: {said}", self.step),
        }
    }
}

/// The directories as the mount calls want them: by name where that is short enough, else by descriptor.
struct Directories {
    lower: Vec<PathBuf>,
    /// Upper and work directory.
    writable: Option<(PathBuf, PathBuf)>,
    _open: Vec<OwnedFd>,
}

impl Directories {
    fn open(plan: &Plan) -> Result<Self, Error> {
        let mut open = Vec::new();
        let lower = plan.lower_dirs.iter().map(|dir| named(dir, MAX_VALUE_BYTES, &mut open));
        let lower = lower.collect::<Result<_, _>>()?;
        let writable = match &plan.writable {
            Some(Writable { upper_dir, work_dir }) => Some((
                named(upper_dir, MAX_VALUE_BYTES, &mut open)?,
                named(work_dir, MAX_VALUE_BYTES, &mut open)?,
            )),
            None => None,
        };
        Ok(Self { lower, writable, _open: open })
    }
}

fn named(dir: &Path, max_bytes: usize, open: &mut Vec<OwnedFd>) -> Result<PathBuf, Error> {
    if dir.as_os_str().len() <= max_bytes {
        return Ok(dir.to_owned());
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(Error::io("opening", dir))?;
    let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
    open.push(fd);
    Ok(name.into())
}

fn with_context(plan: &Plan, directories: &Directories) -> Result<(), Failure> {
    let bare = |step| move |errno| Failure { errno, step, said: String::new() };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(bare("fsopen"))?;
    let failed = |step| {
        let context = &context;
        move |errno| Failure { errno, step, said: kernel_log(context) }
    };
    fsconfig_set_string(&context, "source", "overlay").map_err(failed("source"))?;
    for lower in &directories.lower {
        fsconfig_set_string(&context, "lowerdir+", lower).map_err(failed("lowerdir+"))?;
    }
    if let Some((upper, work)) = &directories.writable {
        fsconfig_set_string(&context, "upperdir", upper).map_err(failed("upperdir"))?;
        fsconfig_set_string(&context, "workdir", work).map_err(failed("workdir"))?;
        fsconfig_set_flag(&context, "volatile").map_err(failed("volatile"))?;
    }
    if let Some(label) = &plan.selinux_label {
        fsconfig_set_string(&context, "context", label.as_str()).map_err(failed("context"))?;
    }
    fsconfig_create(&context).map_err(failed("creating the file system"))?;
    let attributes = plan.access.attributes();
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(failed("fsmount"))?;
    move_mount(&mount, "", CWD, &plan.target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("move_mount"))
}

/// One `mount` call, whose options have to fit into a page: all lower directories by descriptor.
fn classic(plan: &Plan, directories: &Directories) -> Result<(), Failure> {
    let failed = |step| move |errno| Failure { errno, step, said: String::new() };
    let mut open = Vec::new();
    let mut options = String::from("lowerdir=");
    for (index, dir) in plan.lower_dirs.iter().enumerate() {
        let short = named(dir, 0, &mut open).map_err(|_| failed("opening a layer")(Errno::IO))?;
        options.push_str(if index == 0 { "" } else { ":" });
        options.push_str(&short.to_string_lossy());
    }
    if let Some((upper, work)) = &directories.writable {
        options.push_str(&format!(",upperdir={},workdir={}", upper.display(), work.display()));
    }
    if let Some(label) = &plan.selinux_label {
        // Quoted, since a label's categories have commas between them.
        options.push_str(&format!(",context=\"{label}\""));
    }
    if options.len() >= rustix::param::page_size() {
        return Err(failed("too many layers for this kernel (6.5 takes more)")(Errno::TOOBIG));
    }
    let options = std::ffi::CString::new(options).map_err(|_| failed("NUL in a path")(Errno::INVAL))?;
    mount_classic("overlay", &plan.target, "overlay", plan.access.flags(), Some(options.as_c_str()))
        .map_err(failed("mount"))
}

/// Lines of the form `e <message>`.
fn kernel_log(context: impl AsFd) -> String {
    let mut said = Vec::new();
    let mut line = [0; 1024];
    while let Ok(length) = rustix::io::read(&context, &mut line[..]) {
        let text = String::from_utf8_lossy(&line[..length]);
        said.push(text.trim_end().get(2..).unwrap_or_default().to_owned());
    }
    said.join("; ")
}

/// A volatile mount leaves a mark that refuses the next one, because a crash may have torn the files. Nobody
/// counts on these.
fn forget_volatile(work_dir: &Path) -> Result<(), Error> {
    let mark = work_dir.join("work/incompat");
    match fs::remove_dir_all(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", &mark)(error)),
        _ => Ok(()),
    }
}

fn is_mount(target: &Path) -> Result<bool, Error> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let stat = statx(CWD, target, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .map_err(Error::io("examining", target))?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

pub(super) fn is_overlay_mount(target: &Path) -> Result<bool, Error> {
    if !is_mount(target)? {
        return Ok(false);
    }
    let kind = rustix::fs::statfs(target).map_err(Error::io("examining", target))?;
    Ok(kind.f_type == OVERLAYFS_MAGIC)
}

#[cfg(test)]
mod tests;
