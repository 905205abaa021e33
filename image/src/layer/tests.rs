use std::os::unix::fs::{FileTypeExt, MetadataExt};

use proptest::prelude::*;
use tar::{EntryType, Header};

use super::*;

/// A tar archive in the making, as hostile as wanted.
#[derive(Clone, Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn add(self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        self.add_with(kind, name, link, data, |_| {})
    }

    pub(crate) fn add_with(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        data: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_size(data.len() as u64);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn dir(self, name: &str) -> Self {
        self.add(EntryType::Directory, name, "", b"")
    }

    pub(crate) fn file(self, name: &str, data: &str) -> Self {
        self.add(EntryType::Regular, name, "", data.as_bytes())
    }

    pub(crate) fn link(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Symlink, name, target, b"")
    }

    pub(crate) fn hard(self, name: &str, target: &str) -> Self {
        self.add(EntryType::Link, name, target, b"")
    }

    pub(crate) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            let length = (body..).find(|length| *length == body + length.to_string().len()).unwrap();
            data.extend(format!("{length} {key}=").into_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        self.add(EntryType::XHeader, "pax", "", &data)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: needs root to set owners and make devices");
    }
    root
}

pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: LayerStore,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Self::open(dir.path());
        Self { dir, store }
    }

    pub(crate) fn open(dir: &Path) -> LayerStore {
        directories::make(dir).unwrap();
        let trash = Trash::open(dir.join(directories::TRASH)).unwrap();
        LayerStore::open(dir, trash, Limits { max_bytes: 1 << 26, max_entries: 5000 }).unwrap()
    }

    pub(crate) fn unpack(&self, blob: &[u8], tar: &[u8]) -> Result<StagedLayer, Error> {
        self.store.unpack(blob, &descriptor(blob), &Digest::of(tar))
    }

    /// Unpacks and publishes; the chain ID.
    pub(crate) fn layer(&self, parent: Option<&Digest>, tar: Tar) -> Result<Digest, Error> {
        let tar = tar.end();
        let chain_id = Digest::chain(parent, &Digest::of(&tar));
        let staged = self.unpack(&tar, &tar)?;
        self.store.publish(staged, parent, &chain_id)?;
        Ok(chain_id)
    }

    fn one(&self, tar: Tar) -> PathBuf {
        self.store.diff_dir(&self.layer(None, tar).unwrap())
    }

    /// Nothing is left on the way in.
    fn staging_is_empty(&self) -> bool {
        children(&self.dir.path().join("staging")).unwrap().is_empty()
    }
}

/// Nothing works in the directory any more when it is removed.
impl Drop for Bench {
    fn drop(&mut self) {
        self.store.shared.trash.flush();
    }
}

pub(crate) fn descriptor(blob: &[u8]) -> Descriptor {
    Descriptor {
        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
        digest: Digest::of(blob),
        size: blob.len() as u64,
        platform: None,
        urls: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
    }
}

fn gzip(data: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn xattr(path: &Path, key: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, key, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn files_come_out_as_the_archive_has_them() {
    if !is_root() {
        return;
    }
    let capability = b"\x01\0\0\x02\x0a\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let bench = Bench::new();
    let tar = Tar::default()
        .dir("./")
        .add_with(EntryType::Directory, "tmp", "", b"", |h| h.set_mode(0o1777))
        .pax(&[
            ("mtime", b"1350244992.023960108"),
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.a", b"x\ny"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ])
        .add_with(EntryType::Regular, "bin/ping", "", b"elf", |h| {
            h.set_mode(0o4755);
            h.set_uid(7);
            h.set_gid(9);
        })
        .link("sh", "/bin/ping")
        .hard("bin/ping2", "bin/ping")
        .add(EntryType::Fifo, "pipe", "", b"")
        .add_with(EntryType::Char, "null", "", b"", |h| {
            h.set_device_major(1).unwrap();
            h.set_device_minor(3).unwrap();
        });
    let root = bench.one(tar);
    let tmp = fs::metadata(root.join("tmp")).unwrap();
    assert_eq!((tmp.mode() & 0o7777, tmp.mtime()), (0o1777, 1_000_000));
    let ping = fs::metadata(root.join("bin/ping")).unwrap();
    assert_eq!((ping.mode() & 0o7777, ping.uid(), ping.gid(), ping.nlink()), (0o4755, 7, 9, 2));
    assert_eq!((ping.mtime(), ping.mtime_nsec()), (1_350_244_992, 23_960_108));
    assert_eq!(xattr(&root.join("bin/ping"), "security.capability").unwrap(), capability);
    assert_eq!(xattr(&root.join("bin/ping"), "user.a").unwrap(), b"x\ny");
    assert_eq!(xattr(&root.join("bin/ping"), "trusted.overlay.opaque"), None);
    assert_eq!(fs::read_link(root.join("sh")).unwrap(), Path::new("/bin/ping"));
    assert_eq!(fs::symlink_metadata(root.join("sh")).unwrap().mtime(), 1_000_000);
    assert!(fs::metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    let null = fs::metadata(root.join("null")).unwrap();
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    assert!(bench.staging_is_empty());
}

#[test]
fn every_compression_and_several_gzip_members_are_read() {
    if !is_root() {
        return;
    }
    let tar = Tar::default().file("a", &"hello".repeat(200_000)).end();
    let (front, back) = tar.split_at(5000);
    for blob in [
        tar.clone(),
        gzip(&tar),
        [gzip(front), gzip(back)].concat(),
        zstd::encode_all(&tar[..], 3).unwrap(),
        [zstd::encode_all(front, 1).unwrap(), zstd::encode_all(back, 1).unwrap()].concat(),
    ] {
        let bench = Bench::new();
        let staged = bench.unpack(&blob, &tar).unwrap();
        assert_eq!(staged.extracted.size.content_bytes, 1_000_000);
        assert_eq!(fs::read(staged.diff().join("a")).unwrap().len(), 1_000_000);
    }
}

#[test]
fn what_does_not_match_is_refused_and_leaves_nothing() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let tar = Tar::default().file("a", &"hello".repeat(100_000)).end();
    let blob = gzip(&tar);
    let good = descriptor(&blob);
    let unpack = |blob: &[u8], descriptor: &Descriptor, tar: &[u8]| {
        bench.store.unpack(blob, descriptor, &Digest::of(tar)).err().unwrap()
    };
    assert!(
        matches!(unpack(&blob, &good, b"other"), Error::DigestMismatch { what, .. } if what.contains("diff ID"))
    );
    assert!(matches!(unpack(&blob[..blob.len() / 2], &good, &tar), Error::SizeMismatch { .. }));
    assert!(matches!(unpack(&[&blob[..], b"x"].concat(), &good, &tar), Error::SizeMismatch { .. }));
    let mut changed = blob;
    changed[100] ^= 1;
    assert!(
        matches!(unpack(&changed, &good, &tar), Error::DigestMismatch { what, .. } if what.contains("blob"))
    );
    let broken = gzip(&tar[..600]);
    assert!(matches!(unpack(&broken, &descriptor(&broken), &tar[..600]), Error::BadLayer { .. }));
    assert!(bench.staging_is_empty());
}

#[test]
fn limits_hold() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let refused = |tar: Tar| {
        let tar = tar.end();
        matches!(bench.unpack(&gzip(&tar), &tar), Err(Error::BadLayer { .. }))
    };
    assert!(refused(Tar::default().add(EntryType::Regular, "big", "", &vec![0; 70 << 20])));
    assert!(refused((0..5001).fold(Tar::default(), |tar, n| tar.file(&format!("f{n}"), ""))));
    assert!(refused(Tar::default().add(EntryType::XHeader, "x", "", &vec![b'x'; 2 << 20])));
}

#[test]
fn no_name_leaves_the_layer() {
    if !is_root() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    let victim = outside.path().join("victim");
    fs::write(&victim, "safe").unwrap();
    let out = outside.path().to_str().unwrap();
    let up = format!("{}{out}", "../".repeat(12));
    let cases = [
        Tar::default().file(&format!("{up}/victim"), "evil"),
        Tar::default().file(&format!("{out}/victim"), "evil"),
        Tar::default().link("l", out).file("l/victim", "evil"),
        Tar::default().link("l", &up).file("l/victim", "evil"),
        Tar::default().link("a", "b").link("b", &up).dir("a").file("b/victim", "evil"),
        Tar::default().link("l", out).hard("h", "l/victim").file("h", "evil"),
        Tar::default().hard("h", &format!("{up}/victim")).file("h", "evil"),
        Tar::default().link("victim", &format!("{out}/victim")).file("victim", "evil"),
        Tar::default().link("l", out).file("l/.wh.victim", ""),
        Tar::default().link("l", out).file("l/.wh..wh..opq", ""),
        Tar::default().file(".wh...", ""),
        Tar::default().file(".wh..", ""),
        Tar::default().file(".wh.", ""),
        Tar::default().dir("d").link("d/e", "..").link("d/e/e/l", &up).file("l/victim", "evil"),
        Tar::default().link("l", "l").file("l/victim", "evil"),
        Tar::default().link(".", out).file("victim", "evil"),
        Tar::default().link("l", "/proc/self/root").file(&format!("l{out}/victim"), "evil"),
    ];
    for (number, tar) in cases.into_iter().enumerate() {
        let bench = Bench::new();
        let _ = bench.layer(None, tar);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "safe", "case {number}");
        assert_eq!(children(outside.path()).unwrap().len(), 1, "case {number}");
        assert_eq!(fs::metadata(&victim).unwrap().nlink(), 1, "case {number}");
    }
}

#[test]
fn symlinked_parents_are_followed_within_the_layer() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let root = bench.one(
        Tar::default()
            .link("lib", "/usr/lib")
            .file("lib/a", "x")
            .link("usr/up", "../lib")
            .file("usr/up/b", "y"),
    );
    assert_eq!(fs::read_to_string(root.join("usr/lib/a")).unwrap(), "x");
    assert_eq!(fs::read_to_string(root.join("usr/lib/b")).unwrap(), "y");
}

#[test]
fn a_later_member_replaces_an_earlier_one() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let tar = Tar::default()
        .file("d/old", "x")
        .file("d", "now a file")
        .file("f", "x")
        .file("f/below", "y")
        .link("s", "d");
    assert!(matches!(bench.layer(None, tar), Err(Error::BadLayer { .. })));
    let tar = Tar::default()
        .file("d/old", "x")
        .file("d", "now a file")
        .file("f", "x")
        .dir("f")
        .file("f/below", "y")
        .link("s", "d")
        .file("s", "own")
        .dir("k/l")
        .file("k/l/kept", "z")
        .dir("k/l")
        .file("same", "1")
        .hard("same", "same")
        .hard("twin", "same")
        .hard("twin", "same");
    let root = bench.one(tar);
    assert_eq!(fs::read_to_string(root.join("d")).unwrap(), "now a file");
    assert_eq!(fs::read_to_string(root.join("f/below")).unwrap(), "y");
    assert_eq!(xattr(&root.join("f"), "trusted.overlay.opaque").unwrap(), b"y");
    assert_eq!(fs::read_to_string(root.join("s")).unwrap(), "own");
    assert_eq!(fs::read_to_string(root.join("k/l/kept")).unwrap(), "z");
    assert_eq!(fs::metadata(root.join("twin")).unwrap().nlink(), 2);
}

#[test]
fn whiteouts_hide_only_the_layers_below() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let tar = Tar::default()
        .file(".wh.gone", "")
        .file("kept", "x")
        .file(".wh.kept", "")
        .file("dir/a", "x")
        .file(".wh.dir", "")
        .file(".wh.late", "")
        .file("late/b", "y")
        .file("opaque/.wh..wh..opq", "")
        .file("file", "x")
        .file("file/.wh.below", "")
        .file(".wh.hidden", "")
        .file("hidden/.wh.below", "")
        .file(".wh..wh.plnk", "");
    let root = bench.one(tar);
    let opaque = |name: &str| xattr(&root.join(name), "trusted.overlay.opaque") == Some(b"y".to_vec());
    let gone = fs::symlink_metadata(root.join("gone")).unwrap();
    assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
    assert_eq!(fs::read_to_string(root.join("kept")).unwrap(), "x");
    assert!(opaque("dir") && root.join("dir/a").exists());
    assert!(opaque("late") && root.join("late/b").exists());
    assert!(opaque("opaque"));
    assert!(root.join("file").is_file(), "umoci writes whiteouts below what has become a file");
    assert!(fs::symlink_metadata(root.join("hidden")).unwrap().file_type().is_char_device());
    assert!(!root.join(".wh..wh.plnk").exists());
}

#[test]
fn what_a_layer_implies_is_taken_from_below() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let private = |h: &mut Header| {
        h.set_mode(0o2710);
        h.set_uid(5);
        h.set_mtime(77);
    };
    let base = Tar::default()
        .add_with(EntryType::Directory, "./", "", b"", |h| h.set_mode(0o711))
        .add_with(EntryType::Directory, "srv/data", "", b"", private)
        .file("srv/data/one", "first");
    let base = bench.layer(None, base).unwrap();
    let middle = bench.layer(Some(&base), Tar::default().file("else", "")).unwrap();
    let top = Tar::default().file("srv/data/two", "x").hard("link", "srv/data/one");
    let top = bench.layer(Some(&middle), top).unwrap();
    let root = bench.store.diff_dir(&top);
    let data = fs::metadata(root.join("srv/data")).unwrap();
    assert_eq!((data.mode() & 0o7777, data.uid(), data.mtime()), (0o2710, 5, 77));
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o7777, 0o711);
    let link = fs::metadata(root.join("link")).unwrap();
    assert_eq!(link.ino(), fs::metadata(root.join("srv/data/one")).unwrap().ino());
    assert_eq!((fs::read_to_string(root.join("link")).unwrap().as_str(), link.mtime()), ("first", 1_000_000));

    let hidden = bench.layer(Some(&top), Tar::default().file(".wh.srv", "")).unwrap();
    let lost = bench.layer(Some(&hidden), Tar::default().hard("link2", "srv/data/one"));
    assert!(matches!(lost, Err(Error::BadLayer { .. })), "a whiteout hides the link's target");
}

#[test]
fn sparse_files_of_every_format_keep_their_holes() {
    if !is_root() {
        return;
    }
    let check = |tar: Tar, name: &str| {
        let bench = Bench::new();
        let root = bench.one(tar);
        let content = fs::read(root.join(name)).unwrap();
        assert_eq!(content.len(), 1 << 20);
        assert_eq!(&content[65536..65541], b"hello");
        assert_eq!(content.iter().filter(|&&b| b != 0).count(), 5);
        assert!(fs::metadata(root.join(name)).unwrap().blocks() < 64, "holes were written");
    };
    let mut block = b"1\n65536\n5\n".to_vec();
    block.resize(512, 0);
    block.extend(b"hello");
    let v10 = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"real"),
        ("GNU.sparse.realsize", b"1048576"),
    ];
    check(Tar::default().pax(&v10).add(EntryType::Regular, "GNUSparseFile.0/real", "", &block), "real");
    let v01 = [
        ("GNU.sparse.size", &b"1048576"[..]),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.map", b"65536,5"),
        ("GNU.sparse.name", b"real"),
    ];
    check(Tar::default().pax(&v01).add(EntryType::Regular, "x", "", b"hello"), "real");
    let v00 = [
        ("GNU.sparse.size", &b"1048576"[..]),
        ("GNU.sparse.numblocks", b"1"),
        ("GNU.sparse.offset", b"65536"),
        ("GNU.sparse.numbytes", b"5"),
    ];
    check(Tar::default().pax(&v00).add(EntryType::Regular, "x", "", b"hello"), "x");
    let old = Tar::default().add_with(EntryType::GNUSparse, "x", "", b"hello", |h| {
        let gnu = h.as_gnu_mut().unwrap();
        gnu.sparse[0].offset.copy_from_slice(b"00000200000\0");
        gnu.sparse[0].numbytes.copy_from_slice(b"00000000005\0");
        gnu.realsize.copy_from_slice(b"00004000000\0");
    });
    check(old, "x");
    // GNU tar ends the map of a file of holes with an empty extent at its end.
    let holes = Tar::default().add_with(EntryType::GNUSparse, "x", "", b"", |h| {
        let gnu = h.as_gnu_mut().unwrap();
        gnu.sparse[0].offset.copy_from_slice(b"00004000000\0");
        gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
        gnu.realsize.copy_from_slice(b"00004000000\0");
    });
    let bench = Bench::new();
    assert_eq!(fs::metadata(bench.one(holes).join("x")).unwrap().len(), 1 << 20);
}

#[test]
fn what_no_layer_lists_is_open_inside_and_closed_outside() {
    let bench = Bench::new();
    let root = bench.one(Tar::default().file("etc/hosts", "x"));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    // Of the staged directory, which is private, nothing is left.
    assert_eq!((mode(&root), mode(&root.join("etc"))), (0o755, 0o755));
    let layer = root.parent().unwrap();
    assert_eq!((mode(layer), mode(&layer.join(INFO))), (0o700, 0o600));
}

#[test]
fn layers_of_an_unclean_boot_are_dropped_and_durable_ones_stay() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let durable = bench.layer(None, Tar::default().file("a", "1")).unwrap();
    bench.store.make_durable().unwrap();
    let fresh = bench.layer(None, Tar::default().file("a", "2")).unwrap();
    let torn = bench.layer(None, Tar::default().file("a", "3")).unwrap();
    let again = Bench::open(bench.dir.path());
    assert!(again.has(&durable) && again.has(&fresh) && again.has(&torn), "the same boot");
    let info = bench.store.info(&fresh).unwrap();
    let info = LayerInfo { unsynced_boot: Some("another".to_owned()), ..LayerInfo::clone(&info) };
    record_file::write(&bench.store.layer_dir(&fresh).join(INFO), &info, Sync::Never).unwrap();
    fs::write(bench.store.layer_dir(&torn).join(INFO), b"").unwrap();
    let again = Bench::open(bench.dir.path());
    assert!(again.has(&durable) && !again.has(&fresh) && !again.has(&torn), "after a power loss");
}

#[test]
fn layers_are_collected_unless_wanted_or_held() {
    if !is_root() {
        return;
    }
    let bench = Bench::new();
    let layer = |text: &str| bench.layer(None, Tar::default().file("a", text)).unwrap();
    let (wanted, held, unused) = (layer("1"), layer("2"), layer("3"));
    let hold = bench.store.hold([held.clone()]);
    bench.store.collect(&HashSet::from([wanted.clone()])).unwrap();
    assert!(bench.store.has(&wanted) && bench.store.has(&held) && !bench.store.has(&unused));
    assert!(!bench.store.diff_dir(&unused).exists());
    drop(hold);
    bench.store.collect(&HashSet::from([wanted])).unwrap();
    assert!(!bench.store.has(&held));
}

fn any_member() -> impl Strategy<Value = (u8, String, String, Vec<u8>)> {
    let part = prop_oneof![
        Just("a"),
        Just("b"),
        Just(".."),
        Just("."),
        Just(""),
        Just("/"),
        Just(".wh.a"),
        Just(".wh..wh..opq"),
        Just(".wh..."),
    ];
    let name = proptest::collection::vec(part, 1..6).prop_map(|parts| parts.join("/"));
    let kind =
        prop_oneof![Just(b'0'), Just(b'1'), Just(b'2'), Just(b'3'), Just(b'5'), Just(b'6'), any::<u8>()];
    (kind, name.clone(), name, proptest::collection::vec(any::<u8>(), 0..40))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn hostile_archives_stay_inside_and_clean_up(
        members in proptest::collection::vec(any_member(), 0..12), cut in 0..2000usize, flip in any::<(bool, u16, u8)>(),
    ) {
        if !is_root() { return Ok(()); }
        let bench = Bench::new();
        let fence = bench.dir.path().join("a");
        fs::write(&fence, "fence").unwrap();
        let before = children(bench.dir.path()).unwrap().len();
        let mut tar = Tar::default();
        for (kind, name, link, data) in &members {
            tar = tar.add(EntryType::new(*kind), name, link, data);
        }
        let mut tar = tar.end();
        if flip.0 {
            let at = usize::from(flip.1) % tar.len();
            tar[at] ^= flip.2;
            tar.truncate(tar.len().saturating_sub(cut));
        }
        let result = bench.unpack(&tar, &tar);
        if let Err(error) = &result {
            prop_assert!(matches!(error, Error::BadLayer { .. }), "{error}");
        }
        drop(result);
        prop_assert!(bench.staging_is_empty());
        prop_assert_eq!(fs::read_to_string(&fence).unwrap(), "fence");
        let top: Vec<_> = children(bench.dir.path()).unwrap();
        prop_assert_eq!(top.len(), before, "{:?}", top);
    }
}
