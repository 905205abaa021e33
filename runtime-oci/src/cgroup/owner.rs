//! Whose a group is: an attribute of its directory, which goes when the group goes, and which nobody without rights over the host
//! can read or write, a container with a control group of its own to write to included.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;

use super::layout::Layout;
use crate::error::Error;

/// systemd notes things of its units in the same way and place (`trusted.invocation_id`).
const NAME: &str = "trusted.linkspan.root_dir";
/// Longest path that the kernel takes.
const LONGEST: usize = 4096;

/// Marks the group wherever it is there; nothing is made.
pub(super) fn mark(layout: &Layout, below: &Path, owner: &Path) -> Result<(), Error> {
    use std::os::unix::ffi::OsStrExt as _;
    for dir in layout.everywhere(below) {
        match setxattr(&dir, NAME, owner.as_os_str().as_bytes(), XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(Error::io(format!("marking cgroup {}", dir.display()))(error.into())),
        }
    }
    Ok(())
}

/// The first mark that is found: a group is made by one owner in all hierarchies.
pub(super) fn of(layout: &Layout, below: &Path) -> Option<PathBuf> {
    layout.everywhere(below).find_map(|dir| read(&dir).ok())
}

fn read(dir: &Path) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut value = vec![0; LONGEST];
    let length = getxattr(dir, NAME, &mut value)?;
    value.truncate(length);
    Ok(PathBuf::from(std::ffi::OsString::from_vec(value)))
}
