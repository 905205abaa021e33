//! A container's archive: a tar file as CRI-O, containerd and checkpointctl have it.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use linkspan_files::Access;
use linkspan_runtime_oci::rooted::Root;
use serde::Serialize;

use super::dump::ConfigDump;
use crate::error::Error;
use crate::host_files::Step;
use crate::own_files::{make_dir, write};

pub(crate) const CONFIG: &str = "config.dump";
pub(super) const SPEC: &str = "spec.dump";
/// CRIU's images.
pub(crate) const IMAGES: &str = "checkpoint";
const INVENTORY: &str = "inventory.img";
pub(crate) const CHANGES: &str = "rootfs-diff.tar";
pub(super) const DELETED: &str = "deleted.files";
/// CRIU's log and statistics of the dump; those of a restore are not ours to carry.
pub(super) const LOGS: [&str; 2] = ["dump.log", "stats-dump"];

/// Single files of an archive.
const FILES: [&str; 6] = [CONFIG, SPEC, CHANGES, DELETED, LOGS[0], LOGS[1]];

/// Packs what is in `dir`; `archive` must not be there. Its owner alone may read it: it holds the containers' memory.
pub(super) fn pack(dir: &Path, archive: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::store("writing", archive)(error);
    let file = File::options().write(true).create_new(true).mode(0o600).open(archive).map_err(failed)?;
    let mut builder = tar::Builder::new(BufWriter::new(file));
    for name in FILES {
        let path = dir.join(name);
        if path.exists() {
            builder.append_path_with_name(&path, name).map_err(failed)?;
        }
    }
    builder.append_dir_all(IMAGES, dir.join(IMAGES)).map_err(failed)?;
    builder.into_inner().and_then(|mut file| file.flush()).map_err(failed)
}

/// Packs what is in `dir` into `unfinished`, which then becomes `location`; or nothing does, if nobody waits for it any more: a
/// disk may have taken its time, and what was there been cleared away.
pub(super) fn publish(dir: &Path, unfinished: &Path, location: &Path, step: &Step) -> Result<(), Error> {
    step.next("writing checkpoint", location)?;
    let published = pack(dir, unfinished).and_then(|()| {
        step.next("publishing checkpoint", location)?;
        fs::rename(unfinished, location).map_err(Error::store("publishing", location))
    });
    published.inspect_err(|_| drop(fs::remove_file(unfinished)))
}

/// Unpacks an archive into the empty directory `dir`: the files that belong to one, and no others.
///
/// # Errors
/// [`Error::BadConfig`] for what is no archive of a container, in `field`.
pub(crate) fn unpack(archive: &Path, dir: &Path, field: &str) -> Result<(), Error> {
    let bad = |error: io::Error| Error::bad(field, format!("checkpoint {}: {error}", archive.display()));
    let images = dir.join(IMAGES);
    make_dir(&images, Access::Private)?;
    let file = File::open(archive).map_err(bad)?;
    let mut entries = tar::Archive::new(BufReader::new(file));
    for entry in entries.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().map_err(bad)?.into_owned();
        let Some(place) = place(&name) else {
            tracing::debug!(name = %name.display(), "a checkpoint's file that is not needed");
            continue;
        };
        let path = dir.join(place);
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = made.map_err(Error::store("making", &path))?;
        io::copy(&mut entry, &mut file).map_err(Error::store("unpacking", &path))?;
    }
    match dir.join(CONFIG).is_file() && images.join(INVENTORY).is_file() {
        true => Ok(()),
        false => {
            let reason = format!("{} has no {CONFIG} or no {IMAGES}/{INVENTORY}", archive.display());
            Err(Error::bad(field, reason))
        }
    }
}

/// Whether a directory that somebody else filled, an image's root file system, holds what every archive has.
pub(crate) fn is_in(from: &Root) -> Result<bool, Error> {
    Ok(from.file(Path::new(CONFIG))?.is_some() && from.file(&Path::new(IMAGES).join(INVENTORY))?.is_some())
}

/// Copies an archive's files out of such a directory.
pub(crate) fn copy(from: &Root, dir: &Path) -> Result<(), Error> {
    let images = dir.join(IMAGES);
    make_dir(&images, Access::Private)?;
    let mut names: Vec<PathBuf> = FILES.into_iter().map(PathBuf::from).collect();
    if let Some(of_images) = from.dir(Path::new(IMAGES))? {
        let listed = fs::read_dir(of_images.path()).map_err(Error::store("listing", IMAGES))?;
        names.extend(listed.flatten().map(|entry| Path::new(IMAGES).join(entry.file_name())));
    }
    for name in names {
        let Some(mut file) = from.file(&name)? else { continue };
        let path = dir.join(&name);
        let made = File::options().write(true).create_new(true).mode(0o600).open(&path);
        let mut copy = made.map_err(Error::store("making", &path))?;
        io::copy(&mut file, &mut copy).map_err(Error::store("copying to", &path))?;
    }
    Ok(())
}

/// Where a member belongs; `None` if it is none of an archive's.
fn place(name: &Path) -> Option<&Path> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let parts: Option<Vec<&str>> = name
        .components()
        .map(|part| if let Component::Normal(part) = part { part.to_str() } else { None })
        .collect();
    match parts?.as_slice() {
        [file] if FILES.contains(file) => Some(name),
        [IMAGES, _] => Some(name),
        _ => None,
    }
}

/// # Errors
/// [`Error::BadConfig`] in `field` if it is not what it should be.
pub(crate) fn read_config(dir: &Path, field: &str) -> Result<ConfigDump, Error> {
    read_json(&dir.join(CONFIG), field)
}

/// The paths that the container removed; none if the archive does not say.
pub(crate) fn read_deleted(dir: &Path, field: &str) -> Result<Vec<String>, Error> {
    let path = dir.join(DELETED);
    if path.exists() { read_json(&path, field) } else { Ok(Vec::new()) }
}

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path, field: &str) -> Result<T, Error> {
    let text = fs::read(path).map_err(Error::store("reading", path))?;
    serde_json::from_slice(&text).map_err(|error| Error::bad(field, format!("{}: {error}", path.display())))
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| Error::store("encoding", path)(e.into()))?;
    write(path, text, Access::Private)
}

#[cfg(test)]
mod tests;
