//! What the author of an image may put into a layer.

#[path = "../../../fuzz/mended.rs"]
mod mended;
#[path = "../../../fuzz/scratch.rs"]
mod scratch;

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tempfile::TempDir;

pub(crate) use mended::mended;
pub(crate) use scratch::scratch;

use super::decode::{Wanted, decode};
use super::{Archive, Fault, Hold, LayerStore, Limits, MemberKind, Name};
use crate::digest::{Algorithm, Digest};
use crate::manifest::Descriptor;
use crate::store::directories;
use crate::store::trash::Trash;

/// Members one after the other, as they are and with checksums that are right.
///
/// # Panics
/// On a fault.
pub fn tar(data: &[u8]) {
    members(data);
    members(&mended(data));
}

fn members(data: &[u8]) {
    let mut archive = Archive::new(data);
    let (mut read, mut buffer) = (0, [0; 512]);
    while let Ok(Some(member)) = archive.next_member() {
        let mut held = member.path.len();
        held += member.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        assert!(member.mode <= 0o7777, "mode {:o}", member.mode);
        assert!(member.mtime.nanoseconds < 1_000_000_000, "{:?}", member.mtime);
        stays_inside(&member.path);
        match &member.kind {
            MemberKind::HardLink { target } => {
                stays_inside(target);
                held += target.len();
            }
            MemberKind::Symlink { target } => held += target.len(),
            MemberKind::File { size, extents } => {
                held += extents.len();
                let mut end = 0;
                for extent in extents {
                    assert!(extent.offset >= end, "extents overlap");
                    end = extent.offset + extent.length;
                }
                assert!(end <= *size, "an extent lies beyond the end");
            }
            _ => {}
        }
        // One extent stands for a file that has none of its own, one slash is put between prefix and name.
        assert!(held <= data.len() + 2, "{held} bytes held of {}", data.len());
        while let Ok(got @ 1..) = archive.read_data(&mut buffer) {
            read += got;
        }
    }
    assert!(read <= data.len(), "{read} bytes read of {}", data.len());
}

fn stays_inside(raw: &[u8]) {
    let Ok(name) = Name::parse(raw) else { return };
    let bytes = name.as_bytes();
    assert!(!bytes.contains(&0) && bytes.len() <= raw.len(), "{name:?}");
    let is_clean = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    assert!(bytes.is_empty() || bytes.split(|byte| *byte == b'/').all(is_clean), "{name:?}");
    assert_eq!(Name::parse(bytes).ok().as_ref(), Some(&name), "a clean name changes");
}

/// A blob, whatever it is compressed with.
///
/// # Panics
/// On a fault.
pub fn compression(data: &[u8]) {
    // A multiple of what may be ahead, and soon reached: most of an input's time goes into hashing what comes out.
    const MOST: u64 = 1 << 16;
    let wanted = Wanted { blob: Algorithm::Sha256, diff: Algorithm::Sha512, max_bytes: MOST };
    let mut came = 0;
    let outcome = decode(data, wanted, |stream| {
        came = io::copy(stream, &mut io::sink()).map_err(Fault::Source)?;
        Ok(())
    });
    // What is wrong with the content does not keep the blob from being hashed.
    let Ok(outcome) = outcome else { return };
    assert!(came <= MOST, "{came} bytes came out");
    assert_eq!((outcome.blob.bytes, outcome.blob.digest), (data.len() as u64, Digest::of(data)));
    let is_plain = !matches!(data, [0x1f, 0x8b, ..] | [_, 0xb5, 0x2f, 0xfd, ..] | [_, 0x2a, 0x4d, 0x18, ..]);
    if let (Ok((_, diff)), true) = (&outcome.archive, is_plain) {
        assert_eq!((came, diff), (data.len() as u64, &Digest::of_with(Algorithm::Sha512, data)));
    }
}

thread_local! {
    static YARD: RefCell<Option<Yard>> = const { RefCell::new(None) };
}

/// A store with one layer, and something beside it that must stay as it is.
struct Yard {
    dir: TempDir,
    store: LayerStore,
    trash: Trash,
    base: Digest,
    _hold: Hold,
}

impl Yard {
    fn new() -> Self {
        let dir = scratch();
        fs::create_dir_all(dir.path().join("outside/dir")).expect("a directory");
        fs::write(dir.path().join("outside/file"), "untouched").expect("a file");
        let root = dir.path().join("store");
        fs::create_dir(&root).expect("a directory");
        directories::make(&root).expect("the store's directories");
        let trash = Trash::open(root.join(directories::TRASH)).expect("the trash");
        let limits = Limits { max_bytes: 1 << 20, max_entries: 200 };
        let store = LayerStore::open(&root, trash.clone(), limits).expect("an empty store");
        let tar = base();
        let base = Digest::of(&tar);
        let hold = store.hold([base.clone()]);
        let staged = store.unpack(&*tar, &descriptor(&tar), &base).expect("a good layer");
        store.publish(staged, None, &base).expect("a good layer");
        Self { dir, store, trash, base, _hold: hold }
    }

    fn unpack(&self, tar: &[u8]) {
        let diff_id = Digest::of(tar);
        let chain_id = Digest::chain(Some(&self.base), &diff_id);
        let published = self
            .store
            .unpack(tar, &descriptor(tar), &diff_id)
            .and_then(|staged| self.store.publish(staged, Some(&self.base), &chain_id));
        if let Err(error) = published {
            assert!(!error.to_string().is_empty());
        }
        self.store.collect(&HashSet::new()).expect("a layer that nobody wants goes");
        self.trash.flush();
        self.is_as_it_was();
    }

    fn is_as_it_was(&self) {
        let names = |dir: &Path| fs::read_dir(dir).expect("a directory").count();
        let outside = self.dir.path().join("outside");
        assert_eq!(
            (names(self.dir.path()), names(&outside), names(&outside.join("dir"))),
            (2, 2, 0),
            "something was made outside"
        );
        let file = outside.join("file");
        let stat = fs::symlink_metadata(&file).expect("the file outside");
        assert!(
            stat.is_file() && stat.nlink() == 1 && stat.uid() == rustix::process::geteuid().as_raw(),
            "{stat:?}"
        );
        assert_eq!(fs::read_to_string(&file).expect("the file outside"), "untouched");
        let store = self.store.dir().parent().expect("the store");
        assert_eq!(names(&store.join(directories::STAGING)), 0, "something is left on the way in");
        assert_eq!(names(&store.join(directories::TRASH)), 0, "something could not be removed");
        assert_eq!(names(self.store.dir()), 1, "a layer is left");
    }
}

fn descriptor(blob: &[u8]) -> Descriptor {
    Descriptor {
        media_type: String::new(),
        digest: Digest::of(blob),
        size: blob.len() as u64,
        platform: None,
        urls: Vec::new(),
        annotations: Default::default(),
    }
}

/// What late links and parents that a layer does not list are looked up in.
fn base() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, link: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o755);
        match link {
            "" => builder.append_data(&mut header, name, data),
            link => builder.append_link(&mut header, name, link),
        }
        .expect("memory takes an archive");
    };
    add(tar::EntryType::Directory, "etc/", "", b"");
    add(tar::EntryType::Regular, "etc/passwd", "", b"root:x:0:0::/:\n");
    add(tar::EntryType::Symlink, "out", "../../../outside", b"");
    add(tar::EntryType::Fifo, "pipe", "", b"");
    builder.into_inner().expect("memory takes an archive")
}

/// A layer, unpacked above another and published. Needs root.
///
/// # Panics
/// If anything outside of its directory has changed, or anything is left.
pub fn unpack(data: &[u8]) {
    let tar = mended(data);
    YARD.with_borrow_mut(|yard| yard.get_or_insert_with(Yard::new).unpack(&tar));
}
