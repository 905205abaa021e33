//! Records on disk: small files, each with a checksum and the boot it was written in.
//!
//! ```text
//! linkspan-record 1 <sha256 of the body> <boot ID>\n
//! <body: JSON>
//! ```
//! Written by rename and never synced: after a power cut a record may be old, missing or torn. A torn one does not
//! verify and counts as lost; what it spoke of is collected.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use linkspan_files::{Access, write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::own_files::make_dir;

const MAGIC: &str = "linkspan-record 1";
const SUFFIX: &str = ".json";

/// Something that has records: a directory of its own, a name for each.
pub(crate) trait Recorded: Serialize + DeserializeOwned {
    const DIR: &'static str;
    fn name(&self) -> &str;
}

/// The directory of all records.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    dir: PathBuf,
    boot_id: String,
}

/// What the directory held.
#[derive(Debug)]
pub(crate) struct Loaded<T> {
    pub(crate) records: Vec<Found<T>>,
    /// Names whose records did not verify; the files are gone.
    pub(crate) lost: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) record: T,
    /// Whether it was written since the machine was started.
    pub(crate) same_boot: bool,
}

impl Records {
    /// Makes the directories that are missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = "/proc/sys/kernel/random/boot_id";
        let boot_id = fs::read_to_string(path).map_err(Error::store("reading", path))?.trim().to_owned();
        Ok(Self { dir: dir.to_owned(), boot_id })
    }

    /// Blocking, short.
    pub(crate) fn write<T: Recorded>(&self, record: &T) -> Result<(), Error> {
        let path = self.path::<T>(record.name());
        let parent = self.dir.join(T::DIR);
        let body = serde_json::to_vec(record).map_err(|e| Error::store("encoding", &path)(e.into()))?;
        let mut content = format!("{MAGIC} {} {}\n", checksum(&body), self.boot_id).into_bytes();
        content.extend_from_slice(&body);
        // One writer at a time per name, so a fixed name does for the temporary file, and a crash leaves one at most.
        let temporary = parent.join(format!(".{}.tmp", record.name()));
        // Environments may hold secrets.
        let write = || write(&temporary, &content, Access::Private);
        match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_dir(&parent, Access::Private)?;
                write()
            }
            written => written,
        }
        .map_err(Error::store("writing record", &temporary))?;
        fs::rename(&temporary, &path).map_err(Error::store("publishing record", &path))
    }

    /// Gone already: Ok.
    pub(crate) fn remove<T: Recorded>(&self, name: &str) -> Result<(), Error> {
        let path = self.path::<T>(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::store("removing record", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// The one of this name; `None` if there is none that verifies. Blocking, short.
    pub(crate) fn get<T: Recorded>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.path::<T>(name);
        let content = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            content => content.map_err(Error::store("reading record", &path))?,
        };
        let found = self.decode::<T>(&content);
        if found.is_none() {
            tracing::warn!(path = %path.display(), "a record does not verify and counts as lost");
        }
        Ok(found.map(|found| found.record))
    }

    /// All that verify. The others, and temporary files, are removed.
    pub(crate) fn load<T: Recorded>(&self) -> Result<Loaded<T>, Error> {
        let dir = self.dir.join(T::DIR);
        let mut loaded = Loaded { records: Vec::new(), lost: Vec::new() };
        make_dir(&dir, Access::Private)?;
        for entry in fs::read_dir(&dir).map_err(Error::store("listing", &dir))? {
            let path = entry.map_err(Error::store("listing", &dir))?.path();
            let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(name) = file_name.strip_suffix(SUFFIX) else {
                fs::remove_file(&path).map_err(Error::store("removing", &path))?;
                continue;
            };
            let content = fs::read(&path).map_err(Error::store("reading record", &path))?;
            match self.decode::<T>(&content).filter(|found| found.record.name() == name) {
                Some(found) => loaded.records.push(found),
                None => {
                    tracing::warn!(path = %path.display(), "a record does not verify; what it spoke of is collected");
                    fs::remove_file(&path).map_err(Error::store("removing", &path))?;
                    loaded.lost.push(name.to_owned());
                }
            }
        }
        Ok(loaded)
    }

    fn decode<T: Recorded>(&self, content: &[u8]) -> Option<Found<T>> {
        let end = content.iter().position(|byte| *byte == b'\n')?;
        let (header, body) = (std::str::from_utf8(&content[..end]).ok()?, &content[end + 1..]);
        let (sum, boot_id) = header.strip_prefix(MAGIC)?.trim_start().split_once(' ')?;
        if sum != checksum(body) {
            return None;
        }
        let record = serde_json::from_slice(body).ok()?;
        Some(Found { record, same_boot: boot_id == self.boot_id })
    }

    fn path<T: Recorded>(&self, name: &str) -> PathBuf {
        self.dir.join(T::DIR).join(format!("{name}{SUFFIX}"))
    }
}

fn checksum(body: &[u8]) -> String {
    Sha256::digest(body).iter().fold(String::with_capacity(64), |mut text, byte| {
        use std::fmt::Write;
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
