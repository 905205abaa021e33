//! What a container has changed in its root file system, as an archive and a list of what it removed: the form in which
//! checkpoints carry it (podman, CRI-O: `rootfs-diff.tar` and `deleted.files`).

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header, HeaderMode};

use super::UPPER;
use crate::Error;
use crate::layer::{Archive, Extractor, children};
use crate::store::{Images, blocking};

/// overlayfs(5), "whiteouts and opaque directories".
const OPAQUE: &str = "trusted.overlay.opaque";
/// Most entries of a checkpoint's changes.
const MAX_ENTRIES: u64 = 5_000_000;
const ATTIC: &str = ".linkspan-attic";

impl Images {
    /// Writes what the container of `key` added or changed to `archive`, a tar file that is made, and returns the paths
    /// that it removed, relative to the root. Nothing may change meanwhile. Cancel safe: what was begun is finished.
    ///
    /// # Errors
    /// [`Error::NoSuchRootfs`], [`Error::Io`].
    pub async fn rootfs_diff(&self, key: &str, archive: &Path) -> Result<Vec<String>, Error> {
        let (shared, key, archive) = (self.shared.clone(), key.to_owned(), archive.to_owned());
        blocking("packing the changes of a root file system", move || {
            let record = shared.rootfs.find(&key)?;
            let lower_dirs = shared.rootfs.lower_dirs(&record.layers, &shared.layers)?;
            let upper = shared.rootfs.dir.join(&key).join(UPPER);
            let file = File::options().write(true).create_new(true).open(&archive);
            let file = BufWriter::new(file.map_err(Error::io("making", &archive))?);
            let mut packer = Packer { upper, lower_dirs, deleted: BTreeSet::new(), linked: HashMap::new() };
            let mut builder = Builder::new(file);
            packer.directory(&mut builder, Path::new(""))?;
            let mut file = builder.into_inner().map_err(Error::io("writing", &archive))?;
            file.flush().map_err(Error::io("writing", &archive))?;
            Ok(packer.deleted.into_iter().collect())
        })
        .await
    }

    /// Does to the root file system mounted at `target` what [`Images::rootfs_diff`] has told of another: removes
    /// `deleted`, then unpacks `archive`. Neither leads out of it, whatever they say.
    ///
    /// # Errors
    /// [`Error::BadLayer`] for an archive that is damaged or hostile, [`Error::Io`].
    pub async fn apply_rootfs_diff(
        &self,
        target: &Path,
        archive: &Path,
        deleted: Vec<String>,
    ) -> Result<(), Error> {
        let (target, archive) = (target.to_owned(), archive.to_owned());
        blocking("unpacking the changes of a root file system", move || {
            let root = open_dir(&target)?;
            for path in &deleted {
                remove(&root, Path::new(path)).map_err(Error::io("removing", &target.join(path)))?;
            }
            if !archive.exists() {
                return Ok(());
            }
            let attic = target.join(ATTIC);
            fs::create_dir(&attic).map_err(Error::io("creating", &attic))?;
            let unpacked = unpack(&archive, root, &attic);
            fs::remove_dir_all(&attic).map_err(Error::io("removing", &attic))?;
            unpacked
        })
        .await
    }
}

fn unpack(archive: &Path, root: OwnedFd, attic: &Path) -> Result<(), Error> {
    let file = File::open(archive).map_err(Error::io("opening", archive))?;
    let extractor = Extractor::new(root, open_dir(attic)?, MAX_ENTRIES);
    let layer = archive.display().to_string();
    let extracted =
        extractor.run(Archive::new(BufReader::new(file))).map_err(|fault| fault.into_error(&layer, attic))?;
    match extracted.late_links.is_empty() {
        true => Ok(()),
        false => Err(Error::BadLayer { layer, reason: "a link to a file that it does not have".to_owned() }),
    }
}

struct Packer {
    upper: PathBuf,
    /// Top first.
    lower_dirs: Vec<PathBuf>,
    deleted: BTreeSet<String>,
    /// By inode: the first name of a file with several.
    linked: HashMap<u64, PathBuf>,
}

impl Packer {
    /// The directory's own entry, then what is in it; `name` is relative to the root.
    fn directory<W: Write>(&mut self, builder: &mut Builder<W>, name: &Path) -> Result<(), Error> {
        let dir = self.upper.join(name);
        if !name.as_os_str().is_empty() {
            self.append(builder, name, &dir)?;
        }
        let mut names = BTreeSet::new();
        for path in children(&dir)? {
            let Some(base) = path.file_name() else { continue };
            let (name, metadata) = (name.join(base), fs::symlink_metadata(&path));
            names.insert(base.to_owned());
            let metadata = metadata.map_err(Error::io("examining", &path))?;
            if is_whiteout(&metadata) {
                self.deleted.insert(name.to_string_lossy().into_owned());
            } else if metadata.is_dir() {
                self.directory(builder, &name)?;
            } else {
                self.append(builder, &name, &path)?;
            }
        }
        if is_opaque(&dir) {
            for hidden in self.below(name)?.into_iter().filter(|hidden| !names.contains(hidden.as_os_str())) {
                self.deleted.insert(name.join(hidden).to_string_lossy().into_owned());
            }
        }
        Ok(())
    }

    /// All names that any layer has in the directory: removing what is not there does no harm.
    fn below(&self, name: &Path) -> Result<BTreeSet<PathBuf>, Error> {
        let mut found = BTreeSet::new();
        for dir in self.lower_dirs.iter().map(|lower| lower.join(name)) {
            if fs::symlink_metadata(&dir).is_ok_and(|metadata| metadata.is_dir()) {
                found.extend(children(&dir)?.iter().filter_map(|path| path.file_name()).map(PathBuf::from));
            }
        }
        Ok(found)
    }

    fn append<W: Write>(&mut self, builder: &mut Builder<W>, name: &Path, path: &Path) -> Result<(), Error> {
        let failed = |error: io::Error| Error::io("packing", path)(error);
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let kind = metadata.file_type();
        if kind.is_socket() {
            // Nobody listens on it after a restore.
            return Ok(());
        }
        let mut header = Header::new_gnu();
        header.set_metadata_in_mode(&metadata, HeaderMode::Complete);
        if kind.is_symlink() {
            header.set_size(0);
            let target = fs::read_link(path).map_err(failed)?;
            return builder.append_link(&mut header, name, target).map_err(failed);
        }
        if kind.is_file() && metadata.nlink() > 1 {
            if let Some(first) = self.linked.get(&metadata.ino()) {
                header.set_entry_type(EntryType::Link);
                header.set_size(0);
                return builder.append_link(&mut header, name, first).map_err(failed);
            }
            self.linked.insert(metadata.ino(), name.to_owned());
        }
        let attributes = attributes(path).map_err(failed)?;
        let named = attributes.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(named).map_err(failed)?;
        if kind.is_file() {
            let file = File::open(path).map_err(failed)?;
            return builder.append_data(&mut header, name, file).map_err(failed);
        }
        if kind.is_char_device() || kind.is_block_device() {
            let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
            header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).map_err(failed)?;
        }
        header.set_size(0);
        builder.append_data(&mut header, name, io::empty()).map_err(failed)
    }
}

/// Those that mean something to whoever unpacks them: overlayfs's own do not.
fn attributes(path: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 * 1024];
    let length = match rustix::fs::llistxattr(path, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let mut found = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let wanted = name.starts_with(b"user.") || name == b"security.capability";
        let (true, Ok(text)) = (wanted, std::str::from_utf8(name)) else { continue };
        let mut value = vec![0; 64 * 1024];
        let length = rustix::fs::lgetxattr(path, text, &mut value[..])?;
        value.truncate(length);
        found.push((format!("SCHILY.xattr.{text}"), value));
    }
    Ok(found)
}

fn is_whiteout(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(dir: &Path) -> bool {
    let mut value = [0; 1];
    rustix::fs::lgetxattr(dir, OPAQUE, &mut value[..]).is_ok_and(|length| &value[..length] == b"y")
}

/// With all below it; gone already is fine. No link on the way is followed.
fn remove(root: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    let (Some(parent), Some(base)) = (name.parent(), name.file_name()) else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let parent = match rustix::fs::openat2(root, parent, flags, Mode::empty(), within) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        parent => parent?,
    };
    match rustix::fs::unlinkat(&parent, base, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&parent));
            let removed =
                fs::remove_dir_all(Path::new(&path).join(std::ffi::OsStr::from_bytes(base.as_bytes())));
            removed.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        }
        Err(errno) => Err(errno),
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Error> {
    Ok(File::open(path).map_err(Error::io("opening", path))?.into())
}

#[cfg(test)]
mod tests;
