//! The daemon's mount table: reading it, and letting go of what is ours.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use linkspan_files::Access;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::Error;
use crate::own_files::make_dir;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    pub(crate) path: PathBuf,
    /// What is mounted below it on the host is seen elsewhere, and the other way round.
    pub(crate) shared: bool,
    /// What is mounted at its origin is seen here.
    pub(crate) slave: bool,
}

/// # Errors
/// [`Error::Store`] if the table cannot be read.
pub(crate) fn read() -> Result<Vec<MountPoint>, Error> {
    let text = fs::read_to_string(MOUNTINFO).map_err(Error::store("reading", MOUNTINFO))?;
    Ok(parse(&text))
}

/// The mount that `path` is on: the last of the longest.
pub(crate) fn holding<'a>(table: &'a [MountPoint], path: &Path) -> Option<&'a MountPoint> {
    let above = table.iter().filter(|mount| path.starts_with(&mount.path));
    above.max_by_key(|mount| mount.path.components().count())
}

/// Where something is mounted at or below `dir`, in the order in which it was.
///
/// # Errors
/// As [`read`].
pub(crate) fn below(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let paths = read()?.into_iter().map(|mount| mount.path);
    Ok(paths.filter(|path| path.starts_with(dir)).collect())
}

fn parse(text: &str) -> Vec<MountPoint> {
    // man 5 proc: 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    let line = |line: &str| {
        let mut fields = line.split(' ');
        let path = PathBuf::from(unescape(fields.nth(4)?));
        let tags: Vec<&str> = fields.skip(1).take_while(|field| *field != "-").collect();
        let has = |kind: &str| tags.iter().any(|tag| tag.starts_with(kind));
        Some(MountPoint { path, shared: has("shared:"), slave: has("master:") })
    };
    text.lines().filter_map(line).collect()
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        text.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                text.push('\\');
                rest = after;
            }
        }
    }
    text + rest
}

/// Mounts a pod's `/dev/shm` on a directory that is made for it. `owner`: root of the pod's user namespace; `label`: of SELinux.
pub(crate) fn mount_shm(
    path: &Path,
    size_bytes: u64,
    owner: Option<u32>,
    label: Option<&str>,
) -> Result<(), Error> {
    // What is mounted has its own mode.
    make_dir(path, Access::Private)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let owner = owner.map_or_else(String::new, |owner| format!(",uid={owner},gid={owner}"));
    let label = label.map(|label| format!(",context=\"{label}\"")).unwrap_or_default();
    let data = format!("mode=1777,size={size_bytes}{owner}{label}\0");
    let data = std::ffi::CStr::from_bytes_with_nul(data.as_bytes()).ok();
    mount("shm", path, "tmpfs", flags, data).map_err(Error::sys("mounting shm at", path))
}

/// Not mounted or gone: Ok.
pub(crate) fn unmount_all_at(path: &Path) -> Result<(), Error> {
    loop {
        match unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // EINVAL: not a mount point.
            Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(Error::sys("unmounting", path)(errno)),
        }
    }
}

/// Unmounts whatever is mounted at or below `dir`, then removes it. Gone: Ok.
///
/// # Errors
/// [`Error::Store`]; nothing is deleted while something is still mounted.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), Error> {
    if matches!(fs::symlink_metadata(dir), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    for path in below(dir)?.iter().rev() {
        unmount_all_at(path)?;
    }
    if let Some(path) = below(dir)?.first() {
        return Err(Error::sys("unmounting", path)(Errno::BUSY));
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::store("removing", dir)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{holding, parse};

    const TABLE: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:22 / /run rw master:5 - tmpfs tmpfs rw
31 30 0:23 / /run/a\\040b rw - tmpfs tmpfs rw
32 21 0:24 / /runner rw shared:7 master:3 - tmpfs tmpfs rw
";

    #[test]
    fn a_path_is_on_the_nearest_mount_above_it() {
        let table = parse(TABLE);
        let check = |path: &str, expected: &str, shared, slave| {
            let mount = holding(&table, Path::new(path)).unwrap();
            assert_eq!((mount.path.to_str(), mount.shared, mount.slave), (Some(expected), shared, slave));
        };
        check("/etc", "/", true, false);
        check("/run/x", "/run", false, true);
        check("/run/a b/c", "/run/a b", false, false);
        check("/runner", "/runner", true, true);
    }
}
