//! The layers below one that is being published, seen as overlayfs will merge them.

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::attributes;
use super::fault::Fault;
use super::tree::{STAY_WITHIN, open_below};

/// Layer roots, top first, opened when first needed.
pub(crate) struct Below {
    layers: Vec<(PathBuf, OnceCell<OwnedFd>)>,
}

/// Where a name was found.
pub(crate) struct Found<'a> {
    pub(crate) root: BorrowedFd<'a>,
    pub(crate) kind: FileType,
}

/// What one layer knows of a name.
enum Sight {
    Found(FileType),
    /// It hides whatever the layers below have.
    Hidden,
    Unknown,
}

impl Below {
    pub(crate) fn new(roots: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { layers: roots.into_iter().map(|root| (root, OnceCell::new())).collect() }
    }

    /// Finds a true name.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Found<'_>>, Fault> {
        for layer in &self.layers {
            let root = root(layer)?;
            match look(root, name)? {
                Sight::Found(kind) => return Ok(Some(Found { root, kind })),
                Sight::Hidden => return Ok(None),
                Sight::Unknown => {}
            }
        }
        Ok(None)
    }
}

fn root((path, fd): &(PathBuf, OnceCell<OwnedFd>)) -> Result<BorrowedFd<'_>, Fault> {
    if fd.get().is_none() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(Fault::disk("opening the layer below", path.as_os_str().as_encoded_bytes()))?;
        // Nobody else fills it: the cell is not shared between threads.
        let _ = fd.set(opened);
    }
    fd.get().map(AsFd::as_fd).ok_or_else(|| Fault::bad("a layer below is not there"))
}

fn look(root: BorrowedFd<'_>, name: &[u8]) -> Result<Sight, Fault> {
    match kind_of(root, name)? {
        Sight::Unknown => {}
        sight => return Ok(sight),
    }
    // Not here: an ancestor may say that the layers below do not count either.
    let slashes = name.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
    for at in [0].into_iter().chain(slashes) {
        let ancestor = &name[..at];
        match kind_of(root, ancestor)? {
            Sight::Found(FileType::Directory) => {
                if attributes::is_opaque(open_below(root, ancestor)?) {
                    return Ok(Sight::Hidden);
                }
            }
            Sight::Unknown => return Ok(Sight::Unknown),
            Sight::Found(_) | Sight::Hidden => return Ok(Sight::Hidden),
        }
    }
    Ok(Sight::Unknown)
}

fn kind_of(root: BorrowedFd<'_>, name: &[u8]) -> Result<Sight, Fault> {
    let name = if name.is_empty() { b"." } else { name };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::openat2(root, name, flags, Mode::empty(), STAY_WITHIN) {
        // A symlink or a file on the way: the ancestors tell.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Sight::Unknown),
        other => other.map_err(Fault::disk("looking up", name))?,
    };
    let stat = rustix::fs::fstat(&file).map_err(Fault::disk("examining", name))?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if stat.st_rdev == 0 => Sight::Hidden,
        kind => Sight::Found(kind),
    })
}
