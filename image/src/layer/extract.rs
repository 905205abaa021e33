//! From the members of an archive to files in a staging directory.
//!
//! A layer is unpacked on its own, beside its siblings: what it says about the layers below (whiteouts, parents
//! that it does not list, links to files it does not have) is kept in a form that overlayfs or the publication
//! understands. A later member replaces an earlier one of the same name, but for a directory on a directory.

use std::io::Read;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::archive::{Archive, Member, MemberKind};
use super::attributes::{Attributes, is_opaque, set_opaque};
use super::fault::{Fault, show};
use super::name::{Mark, Name};
use super::sparse::Extent;
use super::tree::{Dir, Origin, STAY_WITHIN, Tree, open_below};

const CHUNK: usize = 128 * 1024;

/// What an unpacked layer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Sum of all file contents, holes not counted.
    pub content_bytes: u64,
    /// The same in blocks of 4 KiB, directories included. Never less than what is there.
    pub disk_bytes: u64,
    pub inodes: u64,
}

/// A link to a file that this layer does not have: one of the layers below may.
#[derive(Clone, Debug)]
pub(crate) struct LateLink {
    pub(crate) name: Name,
    pub(crate) target: Name,
}

/// What came out of an archive.
#[derive(Debug, Default)]
pub(crate) struct Extracted {
    pub(crate) size: Size,
    /// True names of directories that the archive does not list, parents first; the root may be among them.
    pub(crate) implied: Vec<Vec<u8>>,
    pub(crate) late_links: Vec<LateLink>,
    /// The layer hides everything below it. overlayfs does not look for the mark on a layer's root.
    pub(crate) hides_all: bool,
}

pub(crate) struct Extractor {
    tree: Tree,
    /// Replaced directories are moved here: cheaper than removing them now.
    attic: OwnedFd,
    in_attic: u64,
    size: Size,
    entries: u64,
    max_entries: u64,
    late_links: Vec<LateLink>,
    buffer: Vec<u8>,
}

impl Extractor {
    /// Unpacks into the empty directory `root`; `attic` is another on the same file system.
    pub(crate) fn new(root: OwnedFd, attic: OwnedFd, max_entries: u64) -> Self {
        Self {
            tree: Tree::new(root),
            attic,
            in_attic: 0,
            size: Size::default(),
            entries: 0,
            max_entries,
            late_links: Vec::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// Unpacks the whole archive and reads its stream to the end.
    pub(crate) fn run<R: Read>(mut self, mut archive: Archive<R>) -> Result<Extracted, Fault> {
        while let Some(member) = archive.next_member()? {
            self.entries += 1;
            if self.entries + self.tree.made() > self.max_entries {
                return Err(Fault::bad(format!("more than {} entries", self.max_entries)));
            }
            self.member(&mut archive, &member)?;
        }
        archive.drain()?;
        self.finish()
    }

    fn member<R: Read>(&mut self, archive: &mut Archive<R>, member: &Member) -> Result<(), Fault> {
        let name = Name::parse(&member.path)?;
        let attributes = Attributes::of(member)?;
        let Some((parent, base)) = name.split() else {
            if member.kind != MemberKind::Directory {
                return Err(Fault::bad("the layer's root is not a directory"));
            }
            let root = self.tree.root().clone();
            attributes.apply(&root, b".")?;
            self.tree.note(&root, attributes.times);
            return Ok(());
        };
        let mark = Mark::of(base)?;
        if mark != Mark::None {
            return match (self.tree.make_for_whiteout(parent)?, mark) {
                (Some(parent), Mark::Whiteout(base)) => self.whiteout(&Entry { parent, base, attributes }),
                (Some(parent), Mark::Opaque) => set_opaque(&parent, parent.path()),
                _ => Ok(()),
            };
        }
        let entry = Entry { parent: self.tree.make(parent)?, base, attributes };
        match &member.kind {
            MemberKind::File { size, extents } => self.file(archive, &entry, *size, extents),
            MemberKind::Directory => self.directory(&entry),
            MemberKind::Symlink { target } => self.symlink(&entry, target),
            MemberKind::HardLink { target } => {
                let target = Name::parse(target)?;
                self.hard_link(&entry, &name, &target)
            }
            MemberKind::Fifo => self.node(&entry, FileType::Fifo, 0),
            MemberKind::CharDevice { major, minor } => {
                self.node(&entry, FileType::CharacterDevice, rustix::fs::makedev(*major, *minor))
            }
            MemberKind::BlockDevice { major, minor } => {
                self.node(&entry, FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
        }
    }

    fn file<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        entry: &Entry<'_>,
        size: u64,
        extents: &[Extent],
    ) -> Result<(), Fault> {
        let full = entry.true_name();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = self.create(entry, "creating", |entry| {
            rustix::fs::openat2(&entry.parent, entry.base, flags, Mode::RUSR | Mode::WUSR, STAY_WITHIN)
        })?;
        let mut end = 0;
        // A map may end with an empty extent, to say where the file ends.
        for extent in extents.iter().filter(|extent| extent.length > 0) {
            self.fill(archive, &file, *extent, &full)?;
            end = extent.offset + extent.length;
            self.size.content_bytes += extent.length;
            self.size.disk_bytes += extent.length.next_multiple_of(4096);
        }
        if size > end {
            rustix::fs::ftruncate(&file, size).map_err(Fault::disk("setting the size of", &full))?;
        }
        self.size.inodes += 1;
        entry.attributes.apply(&file, &full)?;
        entry.attributes.times.apply(&file, &full)
    }

    fn fill<R: Read>(
        &mut self,
        archive: &mut Archive<R>,
        file: &OwnedFd,
        extent: Extent,
        full: &[u8],
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < extent.length {
            let want = usize::try_from(extent.length - done).unwrap_or(CHUNK).min(CHUNK);
            let got = archive.read_data(&mut self.buffer[..want])?;
            if got == 0 {
                return Err(Fault::bad(format!("{}: data ends early", show(full))));
            }
            let mut written = 0;
            while written < got {
                let offset = extent.offset + done + written as u64;
                written += rustix::io::pwrite(file, &self.buffer[written..got], offset)
                    .map_err(Fault::disk("writing", full))?;
            }
            done += got as u64;
        }
        Ok(())
    }

    fn directory(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        let full = entry.true_name();
        let dir = match self.tree.make_entry(&entry.parent, entry.base)? {
            Some(dir) => dir,
            // What is not a directory gives way; as a removal would, that hides what the layers below have.
            None => {
                self.clear(entry)?;
                let dir = self.tree.make_entry(&entry.parent, entry.base)?;
                let dir = dir.ok_or_else(|| Fault::bad(format!("{}: not a directory", show(&full))))?;
                set_opaque(&dir, &full)?;
                dir
            }
        };
        entry.attributes.apply(&dir, &full)?;
        self.tree.note(&dir, entry.attributes.times);
        Ok(())
    }

    fn symlink(&mut self, entry: &Entry<'_>, target: &[u8]) -> Result<(), Fault> {
        let full = entry.true_name();
        if target.is_empty() || target.contains(&0) {
            return Err(Fault::bad(format!("{}: symlink to nowhere", show(&full))));
        }
        self.create(entry, "linking", |entry| rustix::fs::symlinkat(target, &entry.parent, entry.base))?;
        self.size.inodes += 1;
        self.size.content_bytes += target.len() as u64;
        entry.attributes.apply_at(&entry.parent, entry.base, &full, false)
    }

    fn node(&mut self, entry: &Entry<'_>, kind: FileType, device: u64) -> Result<(), Fault> {
        self.create(entry, "creating the node", |entry| {
            rustix::fs::mknodat(&entry.parent, entry.base, kind, Mode::RUSR | Mode::WUSR, device)
        })?;
        self.size.inodes += 1;
        entry.attributes.apply_at(&entry.parent, entry.base, &entry.true_name(), true)
    }

    /// Links within the layer. The link's own attributes are those of its file, which has them already.
    fn hard_link(&mut self, entry: &Entry<'_>, name: &Name, target: &Name) -> Result<(), Fault> {
        let full = entry.true_name();
        let Some((target_parent, target_base)) = target.split() else {
            return Err(Fault::bad(format!("{}: hard link to the layer's root", show(&full))));
        };
        let Some(from) = self.tree.find(target_parent)? else {
            self.late_links.push(LateLink { name: name.clone(), target: target.clone() });
            return Ok(());
        };
        if from.join(target_base) == full {
            return Ok(());
        }
        let link = |entry: &Entry<'_>| {
            rustix::fs::linkat(&from, target_base, &entry.parent, entry.base, AtFlags::empty())
        };
        match link(entry) {
            Err(Errno::NOENT) => {
                self.late_links.push(LateLink { name: name.clone(), target: target.clone() });
                Ok(())
            }
            Err(Errno::PERM) => Err(Fault::bad(format!("{}: hard link to a directory", show(&full)))),
            Err(Errno::EXIST) => {
                self.clear(entry)?;
                link(entry).map_err(|errno| {
                    Fault::bad(format!("{}: hard link: {}", show(&full), std::io::Error::from(errno)))
                })
            }
            other => other.map_err(Fault::disk("linking", &full)),
        }
    }

    /// A whiteout concerns only the layers below: what this layer has under that name stays.
    fn whiteout(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        let full = entry.true_name();
        let mode = Mode::empty();
        match rustix::fs::mknodat(&entry.parent, entry.base, FileType::CharacterDevice, mode, 0) {
            Ok(()) => {
                self.size.inodes += 1;
                Ok(())
            }
            Err(Errno::EXIST) => match self.tree.make_entry(&entry.parent, entry.base)? {
                Some(dir) => set_opaque(&dir, &full),
                None => Ok(()),
            },
            Err(errno) => Err(Fault::disk("creating the whiteout", &full)(errno)),
        }
    }

    /// Creates an entry; one that is in the way is cleared first.
    fn create<T>(
        &mut self,
        entry: &Entry<'_>,
        action: &'static str,
        make: impl Fn(&Entry<'_>) -> rustix::io::Result<T>,
    ) -> Result<T, Fault> {
        match make(entry) {
            Err(Errno::EXIST) => {
                self.clear(entry)?;
                make(entry)
            }
            other => other,
        }
        .map_err(|errno| Fault::disk(action, &entry.true_name())(errno))
    }

    /// Takes away what stands under that name.
    fn clear(&mut self, entry: &Entry<'_>) -> Result<(), Fault> {
        let full = entry.true_name();
        let stat = rustix::fs::statat(&entry.parent, entry.base, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(Fault::disk("examining", &full))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            self.in_attic += 1;
            let slot = self.in_attic.to_string();
            rustix::fs::renameat_with(&entry.parent, entry.base, &self.attic, slot, RenameFlags::NOREPLACE)
                .map_err(Fault::disk("replacing", &full))?;
        } else {
            rustix::fs::unlinkat(&entry.parent, entry.base, AtFlags::empty())
                .map_err(Fault::disk("replacing", &full))?;
        }
        if matches!(kind, FileType::Directory | FileType::Symlink) {
            self.tree.forget(&full);
        }
        Ok(())
    }

    /// Sets the times of directories, now that nothing is made in them any more.
    fn finish(mut self) -> Result<Extracted, Fault> {
        let directories = self.tree.made() + 1;
        self.size.inodes += directories;
        self.size.disk_bytes += directories * 4096;
        let root = self.tree.root().clone();
        let hides_all = is_opaque(&root);
        let mut implied = Vec::new();
        for (name, origin) in self.tree.into_origins() {
            match origin {
                Origin::Implied => implied.push(name),
                Origin::Listed(times) => times.apply(open_below(&root, &name)?, &name)?,
            }
        }
        Ok(Extracted { size: self.size, implied, late_links: self.late_links, hides_all })
    }
}

/// A member on its way to its place.
struct Entry<'a> {
    parent: Dir,
    base: &'a [u8],
    attributes: Attributes,
}

impl Entry<'_> {
    fn true_name(&self) -> Vec<u8> {
        self.parent.join(self.base)
    }
}
