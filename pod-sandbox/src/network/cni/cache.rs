//! Cached attachments in libcni's place and format, so that other tools find them and DEL works
//! with the configuration and result of ADD, whatever has changed since.
//!
//! The place is shared with other engines (containerd, CRI-O, nerdctl, another daemon of ours), so each entry that is written here
//! bears the mark of its daemon (ADR 12). What bears no mark of ours is read, and never changed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::super::{Error, INTERFACE};

const KIND: &str = "cniCacheV1";

/// libcni's own place, where other engines note their attachments wherever ours is.
const LIBCNI_DIR: &str = "/var/lib/cni";

/// libcni's `cachedInfo`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    kind: String,
    pub(crate) container_id: String,
    /// The configuration list.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub(crate) config: Vec<u8>,
    pub(crate) if_name: String,
    pub(crate) network_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) netns: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cni_args: Vec<[String; 2]>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(crate) capability_args: Map<String, Value>,
    /// Missing while ADD runs, and after a crash in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Map<String, Value>>,
    /// `root_dir` of the daemon that made the attachment: an addition of ours, which libcni's readers pass over and no
    /// other writer has. Set when the entry is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linkspan_root_dir: Option<String>,
}

/// What is read of an entry whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Name {
    kind: String,
    container_id: String,
    if_name: String,
    network_name: String,
    #[serde(default)]
    linkspan_root_dir: Option<String>,
}

/// An attachment of somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) container_id: String,
    pub(crate) if_name: String,
    pub(crate) network_name: String,
}

/// All that a cache holds, told apart by who wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Survey {
    /// Those that bear this daemon's mark.
    pub(crate) own: Vec<Entry>,
    /// All others that can be read.
    pub(crate) foreign: Vec<Foreign>,
    /// Names of files that are no entry as we know them: another version's of libcni, or half written.
    pub(crate) unreadable: Vec<String>,
}

impl Entry {
    /// An attachment without a result so far.
    pub(crate) fn new(network: &str, container_id: &str, config: &Value) -> Self {
        Self {
            kind: KIND.to_owned(),
            container_id: container_id.to_owned(),
            config: config.to_string().into_bytes(),
            if_name: INTERFACE.to_owned(),
            network_name: network.to_owned(),
            netns: String::new(),
            cni_args: Vec::new(),
            capability_args: Map::new(),
            result: None,
            linkspan_root_dir: None,
        }
    }
}

/// The directory of cached attachments.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
    /// The mark of what is written: this daemon's `root_dir`.
    owner: String,
}

impl Cache {
    /// `cache_dir` is libcni's: the entries lie in `results` below it. What is written bears `root_dir` as its mark.
    pub(crate) fn new(cache_dir: &Path, root_dir: &Path) -> Self {
        // However it is spelt: a slash at the end says nothing.
        let root_dir: PathBuf = root_dir.components().collect();
        Self { dir: cache_dir.join("results"), owner: root_dir.to_string_lossy().into_owned() }
    }

    /// Writes the entry, whole or not at all, with this daemon's mark.
    pub(crate) async fn store(&self, entry: &Entry) -> Result<(), Error> {
        let (dir, mut entry) = (self.dir.clone(), entry.clone());
        entry.linkspan_root_dir = Some(self.owner.clone());
        blocking(move || store(&dir, &entry)).await
    }

    /// Gone is fine.
    pub(crate) async fn remove(&self, entry: &Entry) -> Result<(), Error> {
        let path = self.dir.join(file_name(entry));
        blocking(move || match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("removing cached attachment", path)(error))
            }
            _ => Ok(()),
        })
        .await
    }

    /// The container's entries, of whatever network: the name may have changed since. What a daemon that died while it
    /// wrote one has left goes; nobody else writes of this container.
    pub(crate) async fn of_container(&self, container_id: &str) -> Result<Vec<Entry>, Error> {
        let (dir, id) = (self.dir.clone(), container_id.to_owned());
        let suffix = format!("-{id}-{INTERFACE}");
        blocking(move || {
            remove_unfinished(&dir, &suffix)?;
            let files = files(&dir, |name| name.ends_with(&suffix))?.into_iter();
            // What is not ours to read (another kind, half of a file) is not ours to judge.
            let entries = files.filter_map(|file| serde_json::from_slice::<Entry>(&file.content?).ok());
            let of_container =
                |entry: &Entry| entry.kind == KIND && entry.if_name == INTERFACE && entry.container_id == id;
            Ok(entries.filter(of_container).collect())
        })
        .await
    }

    /// Everything in the directory, of whatever network and interface, and what others have in libcni's own. Changes nothing.
    pub(crate) async fn survey(&self) -> Result<Survey, Error> {
        let (dir, owner) = (self.dir.clone(), self.owner.clone());
        blocking(move || {
            let mut found = survey(&dir, &owner)?;
            let libcni = Path::new(LIBCNI_DIR).join("results");
            if dir != libcni {
                // This daemon writes and removes in its own directory alone.
                let other = survey(&libcni, &owner)?;
                // It may be the same directory, by a link or a mount.
                let new: Vec<_> =
                    other.foreign.into_iter().filter(|one| !found.foreign.contains(one)).collect();
                found.foreign.extend(new);
                found.unreadable.extend(other.unreadable);
            }
            Ok(found)
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let lost = || Error::Lost { what: "the cni cache".to_owned() };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(lost()))
}

fn store(dir: &Path, entry: &Entry) -> Result<(), Error> {
    let path = dir.join(file_name(entry));
    let temporary = dir.join(format!(".{}.tmp", file_name(entry)));
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(Error::io("making directory", dir))?;
    let write = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&temporary)?.write_all(&serde_json::to_vec(entry)?)?;
        fs::rename(&temporary, &path)
    };
    write().map_err(Error::io("caching attachment", &path))
}

fn remove_unfinished(dir: &Path, suffix: &str) -> Result<(), Error> {
    let suffix = format!("{suffix}.tmp");
    for file in fs::read_dir(dir).into_iter().flatten().flatten() {
        if file.file_name().to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(&suffix)) {
            fs::remove_file(file.path()).map_err(Error::io("removing half an entry", file.path()))?;
        }
    }
    Ok(())
}

fn survey(dir: &Path, owner: &str) -> Result<Survey, Error> {
    let mut found = Survey::default();
    for Found { name, content } in files(dir, |name| !name.starts_with('.'))? {
        let entry = content.and_then(|bytes| {
            let read: Name = serde_json::from_slice(&bytes).ok().filter(|read: &Name| read.kind == KIND)?;
            Some((read, bytes))
        });
        match entry {
            Some((read, bytes)) if read.linkspan_root_dir.as_deref() == Some(owner) => {
                // One that was copied to another name is not the one that we would remove.
                match serde_json::from_slice::<Entry>(&bytes) {
                    Ok(entry) if file_name(&entry) == name => found.own.push(entry),
                    _ => found.unreadable.push(name),
                }
            }
            Some((Name { container_id, if_name, network_name, .. }, _)) => {
                found.foreign.push(Foreign { container_id, if_name, network_name });
            }
            None => found.unreadable.push(name),
        }
    }
    Ok(found)
}

/// A file of the cache.
struct Found {
    name: String,
    /// `None`: it cannot be read.
    content: Option<Vec<u8>>,
}

/// Those that are wanted. What vanishes meanwhile was not there; no directory holds nothing.
fn files(dir: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Found>, Error> {
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(Error::io("reading directory", dir))?,
    };
    let mut found = Vec::new();
    for file in listed {
        let file = file.map_err(Error::io("reading directory", dir))?;
        let name = file.file_name().to_string_lossy().into_owned();
        if !wanted(&name) {
            continue;
        }
        match fs::read(file.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            content => found.push(Found { name, content: content.ok() }),
        }
    }
    Ok(found)
}

fn file_name(entry: &Entry) -> String {
    format!("{}-{}-{}", entry.network_name, entry.container_id, entry.if_name)
}

fn to_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(serde::de::Error::custom)
}
