//! Network configuration: lists and single plugins, from a directory.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::super::Error;
use super::version::Version;

/// A chain of plugins that makes up one network.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NetworkList {
    pub(crate) name: String,
    /// The version in use: the newest of `versions` until the plugins were asked.
    pub(crate) version: Version,
    /// All versions that the configuration may be used with, newest first.
    pub(crate) versions: Vec<Version>,
    pub(crate) disable_check: bool,
    pub(crate) disable_gc: bool,
    pub(crate) plugins: Vec<PluginConf>,
    /// Where it came from, for people.
    pub(crate) source: PathBuf,
}

/// One plugin's part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PluginConf {
    /// The binary's name.
    pub(crate) kind: String,
    /// Runtime arguments that the plugin wants.
    pub(crate) capabilities: BTreeSet<String>,
    /// As written.
    pub(crate) config: Map<String, Value>,
}

/// What a directory holds.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The first that can be used, in lexical order of the file names.
    pub(crate) list: Option<NetworkList>,
    /// What is wrong with the files before it.
    pub(crate) rejected: Vec<Error>,
}

/// Reads the directory. A directory that does not exist holds nothing.
pub(crate) fn load_dir(dir: &Path) -> Result<Found, Error> {
    let mut found = Found::default();
    for path in files(dir, &["conflist", "conf", "json"])? {
        match load_file(&path) {
            Ok(list) => {
                found.list = Some(list);
                break;
            }
            Err(error) => found.rejected.push(error),
        }
    }
    Ok(found)
}

fn load_file(path: &Path) -> Result<NetworkList, Error> {
    let bytes = fs::read(path).map_err(Error::io("reading", path))?;
    let bad = |message: String| Error::BadConfig { path: path.to_path_buf(), message };
    if path.extension().is_none_or(|extension| extension != "conflist") {
        return NetworkList::from_single(&bytes, path).map_err(bad);
    }
    let value = parse_object(&bytes).map_err(bad)?;
    let inline_only = read_bool(&value, "loadOnlyInlinedPlugins").map_err(bad)?;
    let mut list = NetworkList::from_object(&value, path).map_err(bad)?;
    if !inline_only && let Some(dir) = path.parent() {
        list.plugins.extend(load_plugins(&dir.join(&list.name))?);
    }
    if list.plugins.is_empty() {
        return Err(bad("no plugins".to_owned()));
    }
    Ok(list)
}

/// Plugins that lie in a directory named like the network (CNI 1.1).
fn load_plugins(dir: &Path) -> Result<Vec<PluginConf>, Error> {
    files(dir, &["conf"])?
        .into_iter()
        .map(|path| {
            let bytes = fs::read(&path).map_err(Error::io("reading", &path))?;
            parse_object(&bytes)
                .and_then(PluginConf::from_object)
                .map_err(|message| Error::BadConfig { path, message })
        })
        .collect()
}

/// Regular files (or links to such) with one of the extensions, sorted by name.
fn files(dir: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, Error> {
    let entries = match fs::read_dir(dir) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(Error::io("reading directory", dir))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("reading directory", dir))?.path();
        let wanted = path.extension().is_some_and(|e| extensions.iter().any(|wanted| e == *wanted));
        if wanted && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl NetworkList {
    /// A `.conflist`. The message of the error lacks the path.
    pub(crate) fn from_list(bytes: &[u8], source: &Path) -> Result<Self, String> {
        Self::from_object(&parse_object(bytes)?, source)
    }

    /// A `.conf` or `.json`: one plugin, which also names the network.
    pub(crate) fn from_single(bytes: &[u8], source: &Path) -> Result<Self, String> {
        let object = parse_object(bytes)?;
        if object.contains_key("plugins") {
            return Err("is a list of plugins, and its name must then end in .conflist".to_owned());
        }
        let list = json!({
            "name": object.get("name"),
            "cniVersion": object.get("cniVersion"),
            "plugins": [object],
        });
        match list {
            Value::Object(list) => Self::from_object(&list, source),
            _ => Err("is not an object".to_owned()),
        }
    }

    fn from_object(object: &Map<String, Value>, source: &Path) -> Result<Self, String> {
        let name = text(object, "name")?.ok_or("no name")?;
        if !is_valid_name(name) {
            return Err(format!("name {name:?} may have letters, digits, dots, dashes and underscores only"));
        }
        let versions = read_versions(object)?;
        let plugins = match object.get("plugins") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(plugins)) => plugins.iter().map(plugin_from_value).collect::<Result<_, _>>()?,
            Some(_) => return Err("plugins is not a list".to_owned()),
        };
        Ok(Self {
            name: name.to_owned(),
            version: *versions.first().ok_or("no cniVersion")?,
            versions,
            disable_check: read_bool(object, "disableCheck")?,
            disable_gc: read_bool(object, "disableGC")?,
            plugins,
            source: source.to_path_buf(),
        })
    }

    /// Whether its plugins may be told to collect what nobody names: from CNI 1.1 on, unless the list forbids it.
    pub(crate) fn has_gc(&self) -> bool {
        self.version.has_gc_and_status() && !self.disable_gc
    }

    /// As a `.conflist` that stands for itself: in the version in use, with all plugins inline.
    pub(crate) fn to_json(&self) -> Value {
        let mut list = json!({
            "name": self.name,
            "cniVersion": self.version.as_str(),
            "loadOnlyInlinedPlugins": true,
            "plugins": self.plugins.iter().map(|plugin| &plugin.config).collect::<Vec<_>>(),
        });
        for (key, on) in [("disableCheck", self.disable_check), ("disableGC", self.disable_gc)] {
            if on {
                list[key] = true.into();
            }
        }
        list
    }
}

impl PluginConf {
    fn from_object(config: Map<String, Value>) -> Result<Self, String> {
        let kind = text(&config, "type")?.unwrap_or_default().to_owned();
        if kind.is_empty() || kind.contains('/') || kind == "." || kind == ".." {
            return Err(format!("plugin type {kind:?} is not a file name"));
        }
        let capabilities = match config.get("capabilities") {
            Some(Value::Object(all)) => {
                all.iter().filter(|(_, on)| **on == Value::Bool(true)).map(|(name, _)| name.clone()).collect()
            }
            _ => BTreeSet::new(),
        };
        Ok(Self { kind, capabilities, config })
    }
}

fn plugin_from_value(value: &Value) -> Result<PluginConf, String> {
    match value {
        Value::Object(config) => PluginConf::from_object(config.clone()),
        _ => Err("a plugin is not an object".to_owned()),
    }
}

/// libcni's rule for network names and container IDs.
pub(crate) fn is_valid_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// `cniVersion` and `cniVersions`, newest first. Unknown ones among several are passed over: they
/// are for other runtimes.
fn read_versions(object: &Map<String, Value>) -> Result<Vec<Version>, String> {
    let single = text(object, "cniVersion")?;
    let Some(several) = object.get("cniVersions").filter(|value| !value.is_null()) else {
        return Ok(vec![single.ok_or("no cniVersion")?.parse()?]);
    };
    let several = several.as_array().ok_or("cniVersions is not a list")?;
    let names: Vec<&str> = several.iter().filter_map(Value::as_str).chain(single).collect();
    let mut versions: Vec<Version> = names.iter().filter_map(|name| name.parse().ok()).collect();
    versions.sort_by_key(|version| Reverse(*version));
    versions.dedup();
    if versions.is_empty() {
        return Err(format!("none of the cniVersions {names:?} is supported"));
    }
    Ok(versions)
}

fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn text<'a>(object: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("{key} is not a string")),
    }
}

/// A boolean, or one in quotes: libcni takes both.
fn read_bool(object: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("{key} is neither true nor false")),
    }
}
