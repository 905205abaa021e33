//! Directories and files of the daemon's own, as `linkspan_files` makes them; an error says which one it was about.

use std::path::Path;

use linkspan_files::Access;

use crate::error::Error;

pub(crate) fn make_dir(path: &Path, access: Access) -> Result<(), Error> {
    linkspan_files::make_dir(path, access).map_err(Error::store("making directory", path))
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>, access: Access) -> Result<(), Error> {
    linkspan_files::write(path, content, access).map_err(Error::store("writing", path))
}
