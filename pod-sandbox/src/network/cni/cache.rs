//! Cached attachments in libcni's place and format, so that other tools find them and DEL works
//! with the configuration and result of ADD, whatever has changed since.

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
        }
    }
}

/// The directory of cached attachments.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// `cache_dir` is libcni's: the entries lie in `results` below it.
    pub(crate) fn new(cache_dir: &Path) -> Self {
        Self { dir: cache_dir.join("results") }
    }

    /// Writes the entry, whole or not at all.
    pub(crate) async fn store(&self, entry: &Entry) -> Result<(), Error> {
        let (dir, entry) = (self.dir.clone(), entry.clone());
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
            entries(&dir, |name| name.ends_with(&suffix), |entry| entry.container_id == id)
        })
        .await
    }

    /// The network's entries.
    pub(crate) async fn of_network(&self, network: &str) -> Result<Vec<Entry>, Error> {
        let (dir, network) = (self.dir.clone(), network.to_owned());
        blocking(move || entries(&dir, |name| name.starts_with(&network), |e| e.network_name == network))
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

fn entries(
    dir: &Path,
    by_name: impl Fn(&str) -> bool,
    wanted: impl Fn(&Entry) -> bool,
) -> Result<Vec<Entry>, Error> {
    let files = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.map_err(Error::io("reading directory", dir))?,
    };
    let mut entries = Vec::new();
    for file in files {
        let file = file.map_err(Error::io("reading directory", dir))?;
        if !file.file_name().to_str().is_some_and(&by_name) {
            continue;
        }
        // What is not ours to read (another kind, half of a file) is not ours to judge.
        let Ok(bytes) = fs::read(file.path()) else { continue };
        let Ok(entry) = serde_json::from_slice::<Entry>(&bytes) else { continue };
        if entry.kind == KIND && entry.if_name == INTERFACE && wanted(&entry) {
            entries.push(entry);
        }
    }
    Ok(entries)
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
