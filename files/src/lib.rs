//! How directories and files of the daemon's own are made, and who may reach them.
//!
//! Images hold set-user-ID programs, specs hold passwords, and the paths of both are in everybody's mount table. So what
//! the daemon keeps is closed to all others, whatever the umask is and whatever mode it had before.
//!
//! Owns: the modes, and the only calls that make what is the daemon's own; sockets in the file system.
//! Must never know: which directories there are, and what is in them. Each crate that has some has a table of them.

pub mod socket;

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
};
use std::path::Path;

/// Who, beside root, may reach a directory or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody: 0700 and 0600.
    Private,
    /// A group, by its number, goes through a directory that it knows the way in (0710), and reads a file (0640). Root of a pod's
    /// user namespace has such a group: the runtime goes to the root file system as the pod's users.
    Group(u32),
    /// Anybody goes through a directory, and sees no names (0711). No file is so: 0600.
    Passable,
    /// What containers see as theirs: 0755 and 0644. A directory above it must be closed.
    Content,
}

impl Access {
    fn mode(self, is_dir: bool) -> u32 {
        match (self, is_dir) {
            (Self::Private, true) => 0o700,
            (Self::Group(_), true) => 0o710,
            (Self::Passable, true) => 0o711,
            (Self::Content, true) => 0o755,
            (Self::Private | Self::Passable, false) => 0o600,
            (Self::Group(_), false) => 0o640,
            (Self::Content, false) => 0o644,
        }
    }
}

/// Makes a directory, and in the same way those above it that are missing. There already: its mode is set. A link to a
/// directory elsewhere is followed.
///
/// # Errors
/// Those of the file system; `NotADirectory` if something else is there.
pub fn make_dir(path: &Path, access: Access) -> io::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(access.mode(true)).create(path);
    match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::Error::from(io::ErrorKind::NotADirectory))
        }
        made => made.and_then(|()| close(path, access)),
    }
}

/// Makes a file, or empties it, for writing. Nobody else can read what is written even if the file was there and open to all.
///
/// # Errors
/// Those of the file system.
pub fn create(path: &Path, access: Access) -> io::Result<File> {
    open(path, OpenOptions::new().write(true).truncate(true), access)
}

/// Opens a file, made if it is missing, as `options` says.
///
/// # Errors
/// Those of the file system.
pub fn open(path: &Path, options: &OpenOptions, access: Access) -> io::Result<File> {
    let file = options.clone().create(true).mode(Access::Private.mode(false)).open(path)?;
    set_access(&file, access)?;
    Ok(file)
}

/// [`create`], with this content.
///
/// # Errors
/// Those of the file system.
pub fn write(path: &Path, content: impl AsRef<[u8]>, access: Access) -> io::Result<()> {
    create(path, access)?.write_all(content.as_ref())
}

/// Sets the mode of a directory or file that is there.
///
/// # Errors
/// Those of the file system.
pub fn close(path: &Path, access: Access) -> io::Result<()> {
    set_access(&File::open(path)?, access)
}

fn set_access(file: &File, access: Access) -> io::Result<()> {
    let metadata = file.metadata()?;
    // The group first: until then nobody has more than before.
    if let Access::Group(group) = access
        && metadata.gid() != group
    {
        fchown(file, None, Some(group))?;
    }
    let mode = access.mode(metadata.is_dir());
    // A read-only file system, or one without modes, is no trouble as long as the mode is right.
    if metadata.mode() & 0o7777 == mode { Ok(()) } else { file.set_permissions(Permissions::from_mode(mode)) }
}

#[cfg(test)]
mod tests;
