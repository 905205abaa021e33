//! `registries.conf` and `registries.conf.d/*.conf`, version 2 (containers-registries.conf(5)).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Description, Endpoint, Places, Trust};
use crate::{Error, Reference};

/// The file and its drop-ins, merged.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistriesConf {
    registries: Vec<Registry>,
    /// `unqualified-search-registries`: where short names are looked for.
    pub(crate) search: Vec<String>,
    /// `short-name-mode`: `enforcing` refuses a short name with several candidates.
    pub(crate) enforcing: bool,
    /// Short name to registry and repository.
    pub(crate) aliases: BTreeMap<String, String>,
    /// The file that was read, for messages.
    pub(crate) path: PathBuf,
}

/// `[[registry]]`. Unknown keys are other programs' business.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(crate) struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    pub(crate) blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: PullFromMirror,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum PullFromMirror {
    #[default]
    #[serde(alias = "")]
    All,
    DigestOnly,
    TagOnly,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    registry: Vec<Registry>,
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<String>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// `[registries.search]` and the like: version 1.
    registries: Option<toml::Table>,
}

impl RegistriesConf {
    /// Reads `registries.conf` and the drop-ins beside it. Missing files are empty ones.
    pub(crate) fn load(containers_dir: &Path) -> Result<Self, Error> {
        let main = containers_dir.join("registries.conf");
        let mut merged = Self { path: main.clone(), ..Self::default() };
        merged.merge_file(&main)?;
        for path in drop_ins(&containers_dir.join("registries.conf.d"))? {
            merged.merge_file(&path)?;
        }
        Ok(merged)
    }

    fn merge_file(&mut self, path: &Path) -> Result<(), Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("reading", path)(error)),
        };
        self.merge(&text, path)
    }

    /// Takes the text of the file `path` in.
    pub(super) fn merge(&mut self, text: &str, path: &Path) -> Result<(), Error> {
        let bad = |reason: String| Error::BadConfig { path: path.to_owned(), reason };
        let file: File = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        if file.registries.is_some() {
            return Err(bad("version 1 of registries.conf is not supported; use [[registry]]".to_owned()));
        }
        for registry in file.registry {
            let registry = registry.checked().map_err(bad)?;
            // A later file replaces the whole registry of the same prefix.
            self.registries.retain(|known| known.prefix != registry.prefix);
            self.registries.push(registry);
        }
        if let Some(search) = file.unqualified_search_registries {
            self.search = search;
        }
        match file.short_name_mode.as_deref() {
            None => {}
            Some("enforcing") => self.enforcing = true,
            Some("permissive" | "disabled" | "") => self.enforcing = false,
            Some(other) => return Err(bad(format!("unknown short-name-mode {other:?}"))),
        }
        for (name, target) in file.aliases {
            // An empty target takes the alias away.
            if target.is_empty() {
                self.aliases.remove(&name);
            } else {
                self.aliases.insert(name, target);
            }
        }
        Ok(())
    }

    /// The registry with the longest prefix that `reference` matches.
    pub(crate) fn find(&self, reference: &Reference) -> Option<&Registry> {
        let text = reference.to_string();
        let matching = self.registries.iter().filter(|registry| registry.matched(&text).is_some());
        matching.max_by_key(|registry| registry.prefix.len())
    }
}

fn drop_ins(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("reading", directory)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io("reading", directory))?.path();
        if path.extension().is_some_and(|extension| extension == "conf") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Registry {
    fn checked(mut self) -> Result<Self, String> {
        self.location = trimmed(&self.location)?;
        self.prefix = trimmed(&self.prefix)?;
        if self.prefix.is_empty() {
            self.prefix.clone_from(&self.location);
        }
        if self.prefix.is_empty() {
            return Err("a [[registry]] needs a prefix or a location".to_owned());
        }
        if self.prefix.contains('*') && self.prefix.strip_prefix("*.").is_none_or(|p| p.contains('*')) {
            return Err(format!("prefix {:?}: only `*.` at the start is known", self.prefix));
        }
        for mirror in &mut self.mirror {
            mirror.location = trimmed(&mirror.location)?;
            if mirror.location.is_empty() {
                return Err(format!("a mirror of {:?} has no location", self.prefix));
            }
            if self.mirror_by_digest_only && mirror.pull_from_mirror == PullFromMirror::TagOnly {
                return Err(format!("mirrors of {:?} are both digest-only and tag-only", self.prefix));
            }
        }
        Ok(self)
    }

    /// How many bytes of `reference` the prefix covers; `None` if it does not match.
    fn matched(&self, reference: &str) -> Option<usize> {
        let end = match self.prefix.strip_prefix('*') {
            None => reference.starts_with(&self.prefix).then_some(self.prefix.len())?,
            // `*.example.com` covers the whole host `a.b.example.com`, with or without a port.
            Some(suffix) => {
                let host = reference.split('/').next().unwrap_or_default();
                let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
                [host, name].into_iter().find(|part| part.ends_with(suffix))?.len()
            }
        };
        matches!(reference.as_bytes().get(end), None | Some(b':' | b'/' | b'@')).then_some(end)
    }

    /// Mirrors in their order, then the registry's own location.
    pub(super) fn endpoints(&self, places: &Places, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
        let by_digest = reference.digest().is_some();
        let mut endpoints = Vec::new();
        for mirror in &self.mirror {
            let mode = mirror.pull_from_mirror;
            if by_digest && mode == PullFromMirror::TagOnly {
                continue;
            }
            let description = Description {
                resolves: !self.mirror_by_digest_only && mode != PullFromMirror::DigestOnly,
                is_insecure: mirror.insecure,
                ..self.rewritten(places, reference, &mirror.location)?
            };
            endpoints.push(description.endpoint());
        }
        // The prefix may be a pattern or a namespace without a location: the name itself is the place then.
        let own = match self.location.as_str() {
            "" => Description::origin(places, reference)?,
            location => self.rewritten(places, reference, location)?,
        };
        let own = Description { trust: Trust::Origin, is_insecure: self.insecure, ..own };
        endpoints.push(own.endpoint());
        Ok(endpoints)
    }

    /// `reference` with the prefix replaced by `location`.
    fn rewritten(
        &self,
        places: &Places,
        reference: &Reference,
        location: &str,
    ) -> Result<Description, Error> {
        let name = reference.name();
        // The prefix may go as far as the tag; the place is of the name alone.
        let covered = self.matched(&reference.to_string()).unwrap_or(0).min(name.len());
        let target = format!("{location}{}", &name[covered..]);
        let (host, repository) = target.split_once('/').unwrap_or((&target, ""));
        Description::at(places, host, repository)
    }
}

fn trimmed(location: &str) -> Result<String, String> {
    if location.contains("://") {
        return Err(format!("{location:?}: locations have no scheme; use `insecure` for plain HTTP"));
    }
    // A location becomes an address: with one of these it would be another than the file seems to say. It is not repeated,
    // since a password may be in it.
    if location.contains(|c: char| c.is_whitespace() || c.is_control() || "?#@\\%".contains(c)) {
        return Err("a location is a host, a port and a path, and no more".to_owned());
    }
    Ok(location.trim_end_matches('/').to_owned())
}
