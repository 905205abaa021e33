//! Small JSON files that are whole or lost.
//!
//! A record is written beside its place and renamed there, without a sync: after a power loss it may be old,
//! missing, empty or torn. The checksum tells; a record that does not verify is treated as lost.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use linkspan_files::{Access, create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Digest, Error};

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Never,
    /// The content and the name are on the disk when the call returns.
    Now,
}

const OPENING: &str = r#"{"checksum":""#;
const MIDDLE: &str = r#"","record":"#;
const CLOSING: &str = "}\n";

/// Replaces the record at `path`. Never two writers of one path at a time.
pub(crate) fn write<T: Serialize>(path: &Path, record: &T, sync: Sync) -> Result<(), Error> {
    let body =
        serde_json::to_vec(record).map_err(|error| Error::io("encoding", path)(io::Error::from(error)))?;
    let checksum = Digest::of(&body);
    let temporary = path.with_extension("new");
    let mut file = create(&temporary, Access::Private).map_err(Error::io("creating", &temporary))?;
    let parts = [OPENING.as_bytes(), checksum.hex().as_bytes(), MIDDLE.as_bytes(), &body, CLOSING.as_bytes()];
    file.write_all(&parts.concat()).map_err(Error::io("writing", &temporary))?;
    if sync == Sync::Now {
        file.sync_data().map_err(Error::io("syncing", &temporary))?;
    }
    fs::rename(&temporary, path).map_err(Error::io("renaming", &temporary))?;
    if sync == Sync::Now
        && let Some(parent) = path.parent()
    {
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::io("syncing", parent))?;
    }
    Ok(())
}

/// The record at `path`; `None` if there is none or it does not verify.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let content = match fs::read(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.map_err(Error::io("reading", path))?,
    };
    let record = verified(&content).and_then(|body| serde_json::from_slice(body).ok());
    if record.is_none() {
        tracing::warn!(path = %path.display(), "record does not verify: treated as lost");
    }
    Ok(record)
}

fn verified(content: &[u8]) -> Option<&[u8]> {
    let rest = content.strip_prefix(OPENING.as_bytes())?;
    let (checksum, rest) = rest.split_at_checked(64)?;
    let body = rest.strip_prefix(MIDDLE.as_bytes())?.strip_suffix(CLOSING.as_bytes())?;
    (Digest::of(body).hex().as_bytes() == checksum).then_some(body)
}

#[cfg(test)]
mod tests;
