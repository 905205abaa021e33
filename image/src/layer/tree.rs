//! Directories of a layer being unpacked, reached without ever leaving it.
//!
//! Every step is one `openat2` of one component below a directory that is already open, with symlinks refused;
//! symlinks that the layer itself has are followed here, within its root. Nothing outside can be reached
//! whatever the archive says, because no absolute path and no `..` is ever given to the kernel.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::attributes::{self, Times};
use super::fault::{Fault, show};
use super::name::{MAX_NAME_BYTES, split};

/// As many as the kernel follows.
const MAX_SYMLINKS: usize = 40;

/// Open directories kept for reuse. Several layers are unpacked at a time.
const MAX_CACHED: usize = 128;

const OPEN_DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(crate) const STAY_WITHIN: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// An open directory and its true name: clean, relative, without symlinks.
#[derive(Clone)]
pub(crate) struct Dir {
    fd: Rc<OwnedFd>,
    path: Rc<[u8]>,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// The true name of an entry.
    pub(crate) fn join(&self, base: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { base.to_owned() } else { [&self.path, base].join(&b'/') }
    }
}

/// Where a directory's attributes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The archive only has names below it: attributes come from the layer below, when that is known.
    Implied,
    /// The archive has it. Times are set at the end, since every entry made in it changes them.
    Listed(Times),
}

/// What a walk does where there is no directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Leave,
    Make { over_whiteouts: bool },
}

/// The layer's directory tree.
pub(crate) struct Tree {
    root: Dir,
    /// By the archive's names, which may lead through symlinks.
    cache: HashMap<Vec<u8>, Dir>,
    /// By true names.
    origins: BTreeMap<Vec<u8>, Origin>,
    made: u64,
}

impl Tree {
    pub(crate) fn new(root: OwnedFd) -> Self {
        let root = Dir { fd: Rc::new(root), path: Rc::from(&b""[..]) };
        let origins = BTreeMap::from([(Vec::new(), Origin::Implied)]);
        Self { root, cache: HashMap::new(), origins, made: 0 }
    }

    pub(crate) fn root(&self) -> &Dir {
        &self.root
    }

    /// Directories made so far.
    pub(crate) fn made(&self) -> u64 {
        self.made
    }

    pub(crate) fn into_origins(self) -> BTreeMap<Vec<u8>, Origin> {
        self.origins
    }

    pub(crate) fn note(&mut self, dir: &Dir, times: Times) {
        self.origins.insert(dir.path.to_vec(), Origin::Listed(times));
    }

    /// Something that a name may have led through is gone: forget what was known of it and below it.
    pub(crate) fn forget(&mut self, true_name: &[u8]) {
        self.cache.clear();
        let below =
            |name: &[u8]| name.strip_prefix(true_name).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
        self.origins.retain(|name, _| !below(name));
    }

    /// The directory of that name, made with what leads to it if it is not there. A whiteout of this layer
    /// gives way to it.
    pub(crate) fn make(&mut self, name: &[u8]) -> Result<Dir, Fault> {
        let made = self.walk(name, Missing::Make { over_whiteouts: true })?;
        made.ok_or_else(|| Fault::bad(format!("{}: not a directory", show(name))))
    }

    /// The same for a whiteout in that directory; `None` if the directory is itself hidden or replaced by this
    /// layer, so that there is nothing more to hide.
    pub(crate) fn make_for_whiteout(&mut self, name: &[u8]) -> Result<Option<Dir>, Fault> {
        self.walk(name, Missing::Make { over_whiteouts: false })
    }

    /// The directory of that name, if it is there.
    pub(crate) fn find(&mut self, name: &[u8]) -> Result<Option<Dir>, Fault> {
        self.walk(name, Missing::Leave)
    }

    /// Makes or opens one directory below another; `None` if something else has that name.
    pub(crate) fn make_entry(&mut self, parent: &Dir, base: &[u8]) -> Result<Option<Dir>, Fault> {
        let full = parent.join(base);
        if full.len() > MAX_NAME_BYTES {
            return Err(Fault::bad(format!("{}: the true name is too long", show(base))));
        }
        let new = match rustix::fs::mkdirat(parent, base, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(Fault::disk("creating", &full)(errno)),
        };
        let fd = match open_entry(parent, base) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            other => other.map_err(Fault::disk("opening", &full))?,
        };
        if new {
            self.made += 1;
            rustix::fs::fchmod(&fd, Mode::from(0o755)).map_err(Fault::disk("setting the mode of", &full))?;
            self.origins.insert(full.clone(), Origin::Implied);
        }
        Ok(Some(Dir { fd: Rc::new(fd), path: full.into() }))
    }

    fn make_missing(&mut self, parent: &Dir, base: &[u8]) -> Result<Dir, Fault> {
        let made = self.make_entry(parent, base)?;
        made.ok_or_else(|| Fault::bad(format!("{}: not a directory", show(&parent.join(base)))))
    }

    fn walk(&mut self, name: &[u8], missing: Missing) -> Result<Option<Dir>, Fault> {
        let (mut here, rest) = self.longest_known(name);
        let mut todo: VecDeque<Vec<u8>> = components(rest).map(<[u8]>::to_vec).collect();
        let mut links = 0;
        while let Some(component) = todo.pop_front() {
            if component == b".." {
                here = self.above(&here)?;
                continue;
            }
            let full = here.join(&component);
            here = match open_entry(&here, &component) {
                Ok(fd) => Dir { fd: Rc::new(fd), path: full.into() },
                Err(Errno::NOENT) if missing == Missing::Leave => return Ok(None),
                Err(Errno::NOENT) => self.make_missing(&here, &component)?,
                Err(Errno::NOTDIR | Errno::LOOP) => match link_target(&here, &component, &full)? {
                    Some(target) => {
                        links += 1;
                        if links > MAX_SYMLINKS {
                            return Err(Fault::bad(format!("{}: too many symlinks", show(name))));
                        }
                        for component in components(&target).rev() {
                            todo.push_front(component.to_vec());
                        }
                        if target.starts_with(b"/") { self.root.clone() } else { here }
                    }
                    None => match missing {
                        Missing::Make { over_whiteouts: true } if is_whiteout(&here, &component, &full)? => {
                            self.replace_whiteout(&here, &component)?
                        }
                        _ => return Ok(None),
                    },
                },
                Err(errno) => return Err(Fault::disk("opening", &full)(errno)),
            };
        }
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(name.to_vec(), here.clone());
        Ok(Some(here))
    }

    /// The nearest ancestor (or itself) that was reached before, and what is left to walk.
    fn longest_known<'n>(&self, name: &'n [u8]) -> (Dir, &'n [u8]) {
        let mut prefix = name;
        loop {
            if let Some(dir) = self.cache.get(prefix) {
                let rest = &name[prefix.len()..];
                return (dir.clone(), rest.strip_prefix(b"/").unwrap_or(rest));
            }
            match split(prefix) {
                Some((parent, _)) => prefix = parent,
                None => return (self.root.clone(), name),
            }
        }
    }

    /// The directory above, by its true name; the root is above itself.
    fn above(&self, dir: &Dir) -> Result<Dir, Fault> {
        match split(&dir.path) {
            None | Some((b"", _)) => Ok(self.root.clone()),
            Some((parent, _)) => {
                Ok(Dir { fd: Rc::new(open_below(&self.root, parent)?), path: Rc::from(parent) })
            }
        }
    }

    /// A whiteout of this same layer gives way to a directory that hides what the layers below have there.
    fn replace_whiteout(&mut self, parent: &Dir, base: &[u8]) -> Result<Dir, Fault> {
        let full = parent.join(base);
        rustix::fs::unlinkat(parent, base, AtFlags::empty()).map_err(Fault::disk("removing", &full))?;
        let dir = self.make_missing(parent, base)?;
        attributes::set_opaque(&dir, &full)?;
        Ok(dir)
    }
}

/// Opens a directory by its true name; empty for the root itself.
pub(crate) fn open_below(root: impl AsFd, name: &[u8]) -> Result<OwnedFd, Fault> {
    let name = if name.is_empty() { b"." } else { name };
    rustix::fs::openat2(root, name, OPEN_DIRECTORY, Mode::empty(), STAY_WITHIN)
        .map_err(Fault::disk("opening", name))
}

/// Whether the entry is what hides a name of the layers below.
fn is_whiteout(parent: &Dir, base: &[u8], full: &[u8]) -> Result<bool, Fault> {
    let stat = rustix::fs::statat(parent, base, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(Fault::disk("examining", full))?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0)
}

fn open_entry(parent: &Dir, base: &[u8]) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(parent, base, OPEN_DIRECTORY, Mode::empty(), STAY_WITHIN)
}

fn link_target(parent: &Dir, base: &[u8], full: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    match rustix::fs::readlinkat(parent, base, Vec::new()) {
        Ok(target) => Ok(Some(target.into_bytes())),
        Err(Errno::INVAL) => Ok(None),
        Err(errno) => Err(Fault::disk("reading the link", full)(errno)),
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".")
}
