//! Directories and files of the daemon's own, as `linkspan_files` makes them; an error says which one it was about.

use std::path::Path;
use std::{fs, io};

use linkspan_files::Access;
use rustix::io::Errno;

use crate::error::Error;

pub(crate) fn make_dir(path: &Path, access: Access) -> Result<(), Error> {
    linkspan_files::make_dir(path, access).map_err(Error::store("making directory", path))
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>, access: Access) -> Result<(), Error> {
    linkspan_files::write(path, content, access).map_err(Error::store("writing", path))
}

/// What a file holds; `Err` says why it cannot be had, which is the file's trouble and not the daemon's.
pub(crate) fn read(path: &Path) -> io::Result<Result<Vec<u8>, String>> {
    // A pipe would be waited for.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Ok(Err("is not a file".to_owned()));
    }
    match fs::read(path) {
        Ok(content) => Ok(Ok(content)),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Err(error),
            _ => Ok(Err(error.to_string())),
        },
    }
}

/// Of what is in a directory; none if it cannot be read.
pub(crate) fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The extension of what was set aside.
pub(crate) const SET_ASIDE: &str = "bad";

/// Gives a file that is of no use a name by which nobody looks for it: it keeps nothing from working, and is there for who
/// wants to know what happened.
pub(crate) fn set_aside(path: &Path, why: &str) {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{SET_ASIDE}"));
    match fs::rename(path, &aside) {
        Ok(()) => tracing::warn!(
            path = %Path::new(&aside).display(),
            why,
            "a record that cannot be used is set aside, and what it was about is collected"
        ),
        Err(error) => tracing::warn!(
            path = %path.display(),
            why,
            %error,
            "a record that cannot be used could not be set aside and stays; what it was about is collected"
        ),
    }
}
