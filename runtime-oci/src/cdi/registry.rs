//! All files of the configured directories, as they are now.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check;
use super::document::{ContainerEdits, Document, parse};
use super::edit::Edits;
use super::name::DeviceName;

/// Which devices there are, and why others are not.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    dirs: Vec<DirFound>,
    devices: BTreeMap<DeviceName, Found>,
    /// Files that are no good, with the reason.
    bad: Vec<(PathBuf, String)>,
}

#[derive(Clone, Debug)]
struct DirFound {
    path: PathBuf,
    /// How many files, or why none can be read.
    files: Result<usize, String>,
}

#[derive(Clone, Debug)]
enum Found {
    Device {
        priority: usize,
        file: Arc<File>,
        edits: Box<ContainerEdits>,
    },
    /// Two files of one directory define it: neither counts.
    Conflict {
        priority: usize,
        files: Vec<PathBuf>,
    },
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    edits: ContainerEdits,
}

impl Registry {
    /// Reads `*.json` and `*.yaml` of `dirs`; a device in a later directory takes the place of one in an earlier one.
    /// What cannot be read or is invalid is kept in mind for [`Registry::resolve`]'s error.
    #[must_use]
    pub fn read(dirs: &[PathBuf]) -> Self {
        let mut registry = Self::default();
        for (priority, dir) in dirs.iter().enumerate() {
            let files = list(dir);
            for path in files.iter().flatten() {
                match read_file(path) {
                    Ok(document) => registry.add(priority, path, document),
                    Err(reason) => registry.bad.push((path.clone(), reason)),
                }
            }
            registry.dirs.push(DirFound { path: dir.clone(), files: files.map(|files| files.len()) });
        }
        registry
    }

    pub(super) fn add(&mut self, priority: usize, path: &Path, document: Document) {
        let file = Arc::new(File { path: path.to_owned(), edits: document.edits });
        for device in document.devices {
            let name = DeviceName::new(&document.kind, &device.name);
            let new = Found::Device { priority, file: Arc::clone(&file), edits: Box::new(device.edits) };
            let found = match self.devices.remove(&name) {
                Some(Found::Device { priority: other, file: with, .. }) if other == priority => {
                    Found::Conflict { priority, files: vec![with.path.clone(), path.to_owned()] }
                }
                Some(Found::Conflict { priority: other, mut files }) if other == priority => {
                    files.push(path.to_owned());
                    Found::Conflict { priority, files }
                }
                _ => new,
            };
            self.devices.insert(name, found);
        }
    }

    /// [`Registry::resolve`], with the kinds and numbers of devices that the files leave to the host.
    ///
    /// # Errors
    /// As for it, and for [`Edits::fill_from_host`].
    pub fn resolve_on_host(&self, names: &[DeviceName]) -> Result<Edits, String> {
        let mut edits = self.resolve(names)?;
        edits.fill_from_host()?;
        Ok(edits)
    }

    /// The edits of `names` in their order, each file's own before the first device of it; a name twice counts once.
    ///
    /// # Errors
    /// Which name is not there or in conflict, and where was looked.
    pub fn resolve(&self, names: &[DeviceName]) -> Result<Edits, String> {
        let mut edits = Edits::default();
        let (mut done, mut files): (Vec<&DeviceName>, Vec<&Path>) = (Vec::new(), Vec::new());
        for name in names {
            if done.contains(&name) {
                continue;
            }
            done.push(name);
            match self.devices.get(name) {
                Some(Found::Device { file, edits: own, .. }) => {
                    if !files.contains(&file.path.as_path()) {
                        files.push(&file.path);
                        edits.extend(&file.edits);
                    }
                    edits.extend(own);
                }
                Some(Found::Conflict { files, .. }) => {
                    let files: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
                    return Err(format!(
                        "CDI device {name} is in conflict: {} define it, with equal precedence",
                        files.join(" and ")
                    ));
                }
                None => return Err(self.missing(name)),
            }
        }
        Ok(edits)
    }

    /// Files that are no good, with the reason.
    pub fn problems(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.bad.iter().map(|(path, reason)| (path.as_path(), reason.as_str()))
    }

    fn missing(&self, name: &DeviceName) -> String {
        let dir = |dir: &DirFound| match &dir.files {
            Ok(1) => format!("{} (1 file)", dir.path.display()),
            Ok(count) => format!("{} ({count} files)", dir.path.display()),
            Err(reason) => format!("{} ({reason})", dir.path.display()),
        };
        let dirs: Vec<String> = self.dirs.iter().map(dir).collect();
        let mut text = match dirs.is_empty() {
            true => format!("no CDI device {name}: container.cdi_spec_dirs is empty"),
            false => format!("no CDI device {name} in {}", dirs.join(", ")),
        };
        let known: Vec<&str> = self
            .devices
            .keys()
            .filter(|other| other.kind == name.kind)
            .map(|other| other.device.as_str())
            .collect();
        if !known.is_empty() {
            text += &format!("; of {} there are {}", name.kind, known.join(", "));
        }
        for (path, reason) in &self.bad {
            text += &format!("; {} was not used: {reason}", path.display());
        }
        text
    }
}

/// In lexical order. Directories in it are not gone into (the specification's reference implementation).
fn list(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err("not there".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let ours =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "json" || end == "yaml") && path.is_file();
    let mut files: Vec<PathBuf> = paths.filter(ours).collect();
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Document, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let document = parse(&text, path.extension().is_some_and(|end| end == "yaml"))?;
    check::document(&document).map(|()| document)
}
