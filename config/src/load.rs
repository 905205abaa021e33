//! Where values come from, and which wins: defaults, the file, drop-ins in lexical order, environment, flags.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

use crate::agreement;
use crate::error::Error;
use crate::file;
use crate::options::{Config, definitions};
use crate::place::Place;
use crate::value::{Handler, OptionValue};

/// Everything a configuration is made of. Nothing else is read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub place: Place,
    /// The file to read; `None`: `/etc/linkspan/config.toml` of `place`, which may be missing.
    /// Drop-ins are `*.toml` of `config.d` beside it.
    pub file: Option<PathBuf>,
    /// The environment; only names that begin with `LINKSPAN_` count.
    pub environment: Vec<(String, String)>,
    /// `section.name` and text, in the order given; for tables a later one adds to an earlier one.
    pub flags: Vec<(String, String)>,
    /// `--runtime NAME=PATH`, in order; the first becomes the default handler.
    pub runtimes: Vec<(String, PathBuf)>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        line: usize,
    },
    Environment(String),
    Flag(String),
    /// Looked up on this host since nothing was set.
    Host,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => f.write_str(name),
            Origin::Flag(name) => write!(f, "--{name}"),
            Origin::Host => f.write_str("found on this host"),
        }
    }
}

/// A configuration with the origin of each of its values.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// By key. A table's origin is that of its last change.
    pub origins: BTreeMap<&'static str, Origin>,
    pub(crate) values: BTreeMap<&'static str, Value>,
    /// Files read, in order.
    pub files: Vec<PathBuf>,
}

/// Reads, merges and checks.
pub fn load(sources: &Sources) -> Result<Loaded, Error> {
    let mut merged = Merged::defaults(&sources.place);
    let files = files(sources)?;
    for path in &files {
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source })?;
        for setting in file::parse(path, &text)? {
            let origin = Origin::File { path: path.clone(), line: setting.line };
            merged.set(setting.definition.key, setting.value, origin);
        }
    }
    merged.environment(&sources.environment)?;
    merged.flags(&sources.flags)?;
    merged.runtimes(&sources.runtimes)?;
    merged.host_runtimes(|path| path.is_file());
    merged.host_monitor(std::env::current_exe().ok().as_deref());
    let config = Config::from_values(&merged.values).map_err(Error::Inconsistent)?;
    agreement::check(&config).map_err(Error::Inconsistent)?;
    Ok(Loaded { config, origins: merged.origins, values: merged.values, files })
}

/// The file, if there, and its drop-ins. A file asked for by name must exist.
fn files(sources: &Sources) -> Result<Vec<PathBuf>, Error> {
    let default = sources.place.join("/etc/linkspan/config.toml");
    let main = sources.file.as_ref().unwrap_or(&default);
    let mut files = Vec::new();
    if sources.file.is_some() || main.exists() {
        files.push(main.clone());
    }
    let drop_ins = main.parent().unwrap_or(Path::new("/")).join("config.d");
    let entries = match std::fs::read_dir(&drop_ins) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(Error::Read { path: drop_ins, source }),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| Error::Read { path: drop_ins.clone(), source })?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    files.extend(found);
    Ok(files)
}

struct Merged {
    values: BTreeMap<&'static str, Value>,
    origins: BTreeMap<&'static str, Origin>,
}

impl Merged {
    fn defaults(place: &Place) -> Merged {
        Merged {
            values: definitions().iter().map(|d| (d.key, (d.default)(place))).collect(),
            origins: definitions().iter().map(|d| (d.key, Origin::Default)).collect(),
        }
    }

    fn set(&mut self, key: &'static str, value: Value, origin: Origin) {
        let merges = file::find(key).is_some_and(|definition| definition.merges);
        match (self.values.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if merges => old.extend(new),
            (_, value) => drop(self.values.insert(key, value)),
        }
        self.origins.insert(key, origin);
    }

    fn set_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Error> {
        let definition = file::find(key)
            .ok_or_else(|| Error::UnknownFlag { key: key.to_owned(), nearest: file::nearest_key(key) })?;
        let bad = |reason| Error::BadValue { source_name: origin.to_string(), key: key.to_owned(), reason };
        let value = (definition.parse)(text).map_err(bad)?;
        (definition.check)(&value).map_err(bad)?;
        self.set(definition.key, value, origin);
        Ok(())
    }

    fn environment(&mut self, environment: &[(String, String)]) -> Result<(), Error> {
        for definition in definitions() {
            let variable = definition.variable();
            if let Some((_, text)) = environment.iter().find(|(name, _)| *name == variable) {
                self.set_text(definition.key, text, Origin::Environment(variable))?;
            }
        }
        Ok(())
    }

    fn flags(&mut self, flags: &[(String, String)]) -> Result<(), Error> {
        for (key, text) in flags {
            self.set_text(key, text, Origin::Flag(key.replace(['.', '_'], "-")))?;
        }
        Ok(())
    }

    fn runtimes(&mut self, runtimes: &[(String, PathBuf)]) -> Result<(), Error> {
        for (name, path) in runtimes {
            let text = format!("{name}={}", path.display());
            self.set_text("runtime.handlers", &text, Origin::Flag("runtime".into()))?;
        }
        if let Some((first, _)) = runtimes.first() {
            self.set("runtime.default", Value::String(first.clone()), Origin::Flag("runtime".into()));
        }
        Ok(())
    }

    /// Fills in handlers and default where nothing set them. `exists` tells which binaries the host has.
    fn host_runtimes(&mut self, exists: impl Fn(&Path) -> bool) {
        const DIRECTORIES: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
        const NAMES: [&str; 3] = ["crun", "runc", "youki"];
        let mut first = None;
        if self.is_unset("runtime.handlers") {
            let mut handlers = BTreeMap::new();
            for name in NAMES {
                let found = DIRECTORIES.iter().map(|dir| Path::new(dir).join(name)).find(|path| exists(path));
                if let Some(path) = found {
                    first = first.or(Some(name.to_owned()));
                    handlers.insert(name.to_owned(), Handler::new(path));
                }
            }
            self.set("runtime.handlers", handlers.to_toml(), Origin::Host);
        }
        if self.is_unset("runtime.default") {
            let named = self.values.get("runtime.handlers").and_then(Value::as_table);
            let first = first.or_else(|| named.and_then(|table| table.keys().next().cloned()));
            self.set("runtime.default", Value::String(first.unwrap_or_default()), Origin::Host);
        }
    }

    /// The monitor is the one that came with this binary, unless another is named.
    fn host_monitor(&mut self, daemon: Option<&Path>) {
        let beside = daemon.and_then(Path::parent).map(|directory| directory.join("linkspan-monitor"));
        if let (true, Some(path)) = (self.is_unset("runtime.monitor"), beside) {
            self.set("runtime.monitor", path.to_toml(), Origin::Host);
        }
    }

    fn is_unset(&self, key: &str) -> bool {
        match self.values.get(key) {
            Some(Value::Table(table)) => table.is_empty(),
            Some(Value::String(text)) => text.is_empty(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
