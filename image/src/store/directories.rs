//! The directories of the store, and who may reach them. A new one is a line here.

use std::path::Path;

use linkspan_files::{Access, make_dir};

use crate::Error;

pub(crate) const RECORDS: &str = "records";
pub(crate) const LAYERS: &str = "layers";
pub(crate) const STAGING: &str = "staging";
pub(crate) const TRASH: &str = "trash";
pub(crate) const ROOTFS: &str = "rootfs";
/// Lowest layer of an image that has none: overlayfs wants at least one. A container sees its mode at `/`.
pub(crate) const EMPTY: &str = "empty";

const ALL: [(&str, Access); 7] = [
    ("", Access::Private),
    (RECORDS, Access::Private),
    (LAYERS, Access::Private),
    (STAGING, Access::Private),
    (TRASH, Access::Private),
    (ROOTFS, Access::Private),
    (EMPTY, Access::Content),
];

/// Makes those that are missing and sets the modes of all: an earlier version may have left them open. Blocking.
pub(crate) fn make(root_dir: &Path) -> Result<(), Error> {
    for (name, access) in ALL {
        let dir = root_dir.join(name);
        make_dir(&dir, access).map_err(Error::io("making directory", &dir))?;
    }
    Ok(())
}
