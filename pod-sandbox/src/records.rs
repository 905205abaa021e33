//! Records on disk: small files, each with a checksum and the boot it was written in.
//!
//! ```text
//! linkspan-record <format> <sha256 of the body> <boot ID>\n
//! <body: JSON; its key `written_by` is the version that wrote it>
//! ```
//! Written by rename and never synced: after a power cut a record may be old, missing or torn. A torn one does not
//! verify and counts as lost: the file is set aside as `<name>.bad`, and what it spoke of is collected.
//!
//! What a version reads of another's (ADR 14):
//!
//! ```text
//! its own format, an older one's fields ──▶ read: what is new has a default
//! its own format, a newer one's fields  ──▶ read: what is not known is passed over
//! its own format, and yet no record     ──▶ left, as is all that it speaks of: a new state, say
//! another format                        ──▶ left likewise
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use linkspan_files::{Access, write};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::own_files::{self, SET_ASIDE, make_dir, set_aside};

const MAGIC: &str = "linkspan-record ";
/// One more when an older version must not take a record for what it knows, though it could read it.
const FORMAT: u32 = 1;
const SUFFIX: &str = ".json";
/// The extension of what is being written.
const UNFINISHED: &str = "tmp";
const VERSION: &str = env!("CARGO_PKG_VERSION");

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
    /// Names of those that another version wrote and this one does not understand.
    pub(crate) left: BTreeSet<String>,
}

#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) record: T,
    /// Whether it was written since the machine was started.
    pub(crate) same_boot: bool,
}

/// What a file is.
#[derive(Debug)]
enum Content<T> {
    Record(Found<T>),
    /// Whole, and not understood.
    OfAnother {
        written_by: String,
    },
    /// With why.
    Damaged(String),
}

/// As it is written.
#[derive(Serialize)]
struct Body<'a, T> {
    written_by: &'a str,
    #[serde(flatten)]
    record: &'a T,
}

/// What all formats have.
#[derive(Deserialize)]
struct Written {
    written_by: String,
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
        let body = Body { written_by: VERSION, record };
        let body = serde_json::to_vec(&body).map_err(|e| Error::store("encoding", &path)(e.into()))?;
        let mut content = format!("{MAGIC}{FORMAT} {} {}\n", checksum(&body), self.boot_id).into_bytes();
        content.extend_from_slice(&body);
        // One writer at a time per name, so a fixed name does for the temporary file, and a crash leaves one at most.
        let temporary = parent.join(format!(".{}.{UNFINISHED}", record.name()));
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

    /// The one of this name; `None` if there is none that is of use. Blocking, short.
    pub(crate) fn get<T: Recorded>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.path::<T>(name);
        if !path.exists() {
            return Ok(None);
        }
        match self.read::<T>(&path, name)? {
            Content::Record(found) => Ok(Some(found.record)),
            Content::OfAnother { .. } | Content::Damaged(_) => Ok(None),
        }
    }

    /// All that this version understands. Temporary files are removed, and what is no record is set aside: one file's
    /// trouble is not the others'.
    pub(crate) fn load<T: Recorded>(&self) -> Result<Loaded<T>, Error> {
        let dir = self.dir.join(T::DIR);
        let mut loaded = Loaded { records: Vec::new(), left: BTreeSet::new() };
        make_dir(&dir, Access::Private)?;
        for entry in fs::read_dir(&dir).map_err(Error::store("listing", &dir))? {
            let path = entry.map_err(Error::store("listing", &dir))?.path();
            let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is = |extension| path.extension().is_some_and(|found| found == extension);
            if is(SET_ASIDE) || is(UNFINISHED) && fs::remove_file(&path).is_ok() {
                continue;
            }
            let name = file_name.strip_suffix(SUFFIX).unwrap_or_default();
            match self.read(&path, name)? {
                Content::Record(found) => loaded.records.push(found),
                Content::OfAnother { .. } => drop(loaded.left.insert(name.to_owned())),
                Content::Damaged(_) => {}
            }
        }
        Ok(loaded)
    }

    /// Says what is wrong with it, and sets it aside if it is damaged.
    fn read<T: Recorded>(&self, path: &Path, name: &str) -> Result<Content<T>, Error> {
        let content = own_files::read(path).map_err(Error::store("reading record", path))?;
        let content = match content.map(|content| self.decode::<T>(&content)) {
            Ok(Content::Record(found)) if found.record.name() != name => {
                Content::Damaged(format!("is the record of {}", found.record.name()))
            }
            Ok(content) => content,
            Err(why) => Content::Damaged(why),
        };
        match &content {
            Content::Record(_) => {}
            Content::OfAnother { written_by } => tracing::warn!(
                path = %path.display(),
                written_by,
                own_version = VERSION,
                "another version of linkspan wrote this record, and this one does not understand it: it stays, and what it is \
                 about runs on, unlisted, until that version is started again"
            ),
            Content::Damaged(why) => set_aside(path, why),
        }
        Ok(content)
    }

    fn decode<T: Recorded>(&self, content: &[u8]) -> Content<T> {
        let Some((format, boot_id, body)) = verified(content) else {
            return Content::Damaged("its checksum is wrong".to_owned());
        };
        match serde_json::from_slice(body) {
            Ok(record) if format == FORMAT => {
                Content::Record(Found { record, same_boot: boot_id == self.boot_id })
            }
            _ => {
                let written = serde_json::from_slice::<Written>(body);
                let written_by = written.map_or_else(|_| "unknown".to_owned(), |written| written.written_by);
                Content::OfAnother { written_by }
            }
        }
    }

    fn path<T: Recorded>(&self, name: &str) -> PathBuf {
        self.dir.join(T::DIR).join(format!("{name}{SUFFIX}"))
    }
}

/// Format, boot ID and body.
fn verified(content: &[u8]) -> Option<(u32, &str, &[u8])> {
    let end = content.iter().position(|byte| *byte == b'\n')?;
    let (header, body) = (std::str::from_utf8(&content[..end]).ok()?, &content[end + 1..]);
    let (format, rest) = header.strip_prefix(MAGIC)?.split_once(' ')?;
    let (sum, boot_id) = rest.split_once(' ')?;
    (sum == checksum(body)).then_some((format.parse().ok()?, boot_id, body))
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
