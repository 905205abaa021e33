//! OCI hooks directories: files that say which hooks run for which containers.
//!
//! Source: containers/common, `oci-hooks.5`, schema 1.0.0. The files are read anew by each container, as those of
//! [`crate::cdi`] are. A file that is no good refuses the container: a hook may be what keeps a node safe, and one that is
//! left out in silence protects nobody.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Spec};
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::cdi::add_hook;
use crate::error::Error;

const VERSION: &str = "1.0.0";
const STAGES: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// The hooks of all files, in the order in which they are run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct OciHooks(Vec<HookFile>);

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HookFile {
    version: String,
    hook: Hook,
    when: When,
    stages: Vec<String>,
}

/// All that are set must hold, and one at least must be set. Patterns are regular expressions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct When {
    always: Option<bool>,
    /// Some annotation's key matches the key, and its value the value.
    annotations: BTreeMap<String, String>,
    /// One of them matches the first word of the command.
    commands: Vec<String>,
    has_bind_mounts: Option<bool>,
}

impl OciHooks {
    /// Reads `*.json` of `dirs`. A file in a later directory takes the place of one with its name in an earlier one; hooks
    /// are run in the order of the files' names.
    ///
    /// # Errors
    /// [`Error::BadHookFile`] for a file that cannot be read or is invalid, [`Error::Io`] for a directory that cannot be
    /// read. One that is not there is fine.
    pub fn read(dirs: &[PathBuf]) -> Result<Self, Error> {
        let mut paths = BTreeMap::new();
        for dir in dirs {
            let entries = match fs::read_dir(dir) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(Error::io(format!("listing {}", dir.display())))?,
            };
            let found = entries.flatten().map(|entry| entry.path());
            for path in found.filter(|path| path.extension().is_some_and(|end| end == "json")) {
                paths.insert(path.file_name().map(ToOwned::to_owned), path);
            }
        }
        paths.values().map(|path| read_file(path)).collect::<Result<_, _>>().map(Self)
    }

    /// Adds the hooks whose conditions `spec` meets, behind those that are there. Pure.
    pub fn apply(&self, spec: &mut Spec, has_bind_mounts: bool) {
        for file in &self.0 {
            if file.when.holds(spec, has_bind_mounts) {
                for stage in &file.stages {
                    add_hook(spec, stage, file.hook.clone());
                }
            }
        }
    }
}

impl When {
    fn holds(&self, spec: &Spec, has_bind_mounts: bool) -> bool {
        let annotations = spec.annotations().iter().flatten();
        let annotated = |(key, value): (&String, &String)| {
            annotations.clone().any(|(found, content)| matches(key, found) && matches(value, content))
        };
        let command = spec.process().as_ref().and_then(|process| process.args().as_ref()?.first().cloned());
        let command = command.unwrap_or_default();
        let conditions = [
            self.always,
            // `false` is never met: the schema has no way to ask for a container without mounts.
            self.has_bind_mounts.map(|wanted| wanted && has_bind_mounts),
            (!self.annotations.is_empty()).then(|| self.annotations.iter().all(annotated)),
            (!self.commands.is_empty())
                .then(|| self.commands.iter().any(|pattern| matches(pattern, &command))),
        ];
        let mut set = conditions.iter().flatten().peekable();
        set.peek().is_some() && set.all(|met| *met)
    }

    fn patterns(&self) -> impl Iterator<Item = &String> {
        self.annotations.iter().flat_map(|(key, value)| [key, value]).chain(&self.commands)
    }
}

/// Patterns were compiled when the file was read.
fn matches(pattern: &str, text: &str) -> bool {
    Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

fn read_file(path: &Path) -> Result<HookFile, Error> {
    let bad = |reason: String| Error::BadHookFile { path: path.to_owned(), reason };
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    let file: HookFile = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    check(&file).map_err(bad)?;
    let program = file.hook.path();
    match fs::metadata(program) {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(bad(format!("hook.path {} is not a file", program.display()))),
        Err(error) => Err(bad(format!("hook.path {}: {error}", program.display()))),
    }
}

fn check(file: &HookFile) -> Result<(), String> {
    if file.version != VERSION {
        return Err(format!("version is {:?}; only {VERSION} is known", file.version));
    }
    if !file.hook.path().is_absolute() {
        return Err(format!("hook.path {} is not absolute", file.hook.path().display()));
    }
    if file.hook.timeout().is_some_and(|timeout| timeout <= 0) {
        return Err("hook.timeout is not above zero".to_owned());
    }
    if file.stages.is_empty() {
        return Err("stages is empty: the hook would never run".to_owned());
    }
    if let Some(stage) = file.stages.iter().find(|stage| !STAGES.contains(&stage.as_str())) {
        return Err(format!("stage {stage:?} is none of {}", STAGES.join(", ")));
    }
    match file.when.patterns().find_map(|pattern| Regex::new(pattern).err()) {
        Some(error) => Err(format!("when: {error}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
