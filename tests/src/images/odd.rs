//! Layers with everything that an extractor gets wrong: whiteouts, opaque folders, links across layers, attributes,
//! sparse files, long names, devices, file types that change from one layer to the next.

use std::io;

use super::content::Content;
use super::layer::{Compression, Layer};
use super::storage::Storage;
use super::tar::{Entry, Kind, SparseForm};

/// Three layers, the same tar streams whatever the compression.
pub fn layers(storage: &Storage, compression: Compression) -> io::Result<Vec<Layer>> {
    [first(), second(), third()].iter().map(|entries| Layer::of(storage, compression, entries)).collect()
}

/// `cap_net_raw+ep` as the kernel stores it, version 2.
fn capability() -> Vec<u8> {
    let mut value = vec![0x01, 0, 0, 0x02];
    value.extend_from_slice(&(1_u32 << 13).to_le_bytes());
    value.resize(20, 0);
    value
}

fn long_name(letter: char, length: usize) -> String {
    letter.to_string().repeat(length)
}

fn first() -> Vec<Entry> {
    let deep = format!("names/{}/{}", long_name('d', 120), long_name('e', 120));
    vec![
        Entry::directory("attributes/", 0o755).mtime(1_600_000_000, 0),
        Entry::file("attributes/capable", 0o755, "#!/bin/sh\n").xattr("security.capability", capability()),
        Entry::file("attributes/user", 0o644, "x")
            .xattr("user.colour", *b"blue\0\xff")
            .xattr("user.empty", ""),
        Entry::directory("attributes/folder/", 0o2775).owner(7, 8).xattr("user.kind", "folder"),
        Entry::file("attributes/setuid", 0o4755, "x"),
        Entry::file("attributes/setgid", 0o2755, "x").owner(0, 33),
        Entry::file("attributes/nobody-reads", 0o000, "secret").owner(65534, 65534),
        Entry::file("attributes/large-ids", 0o640, "x").owner(3_000_000, 2_500_000),
        Entry::file("attributes/precise", 0o644, "x").mtime(1_234_567_890, 123_456_789),
        Entry::file("attributes/epoch", 0o644, "x").mtime(0, 0),
        Entry::directory("devices/", 0o755),
        Entry::special("devices/null", Kind::CharDevice(1, 3), 0o666),
        Entry::special("devices/loop", Kind::BlockDevice(7, 0), 0o660).owner(0, 6),
        Entry::special("devices/pipe", Kind::Fifo, 0o600),
        Entry::directory("links/", 0o755),
        Entry::file("links/one", 0o600, "one file of three names").owner(5, 5),
        Entry::hard_link("links/two", "links/one"),
        Entry::hard_link("links/three", "links/one"),
        Entry::symlink("links/absolute", "/links/one").mtime(1_500_000_000, 0).owner(9, 9),
        Entry::symlink("links/relative", "../links/one"),
        Entry::symlink("links/dangling", "nowhere/at/all"),
        Entry::symlink("links/upwards", "../../../../../../etc/passwd"),
        Entry::symlink("links/long", &format!("/{}", long_name('t', 180))),
        Entry::special("links/device", Kind::HardLink("devices/null".into()), 0o666),
        Entry::directory("names/", 0o755),
        Entry::file("names/with space and \u{fc}nicode \u{2603}", 0o644, "x"),
        Entry::file("names/new\nline", 0o644, "x"),
        Entry::file("names/.wh", 0o644, "not a whiteout: no dot follows"),
        Entry::directory(&format!("names/{}/", long_name('d', 120)), 0o755),
        Entry::directory(&format!("{deep}/"), 0o755),
        Entry::file(&format!("{deep}/{}", long_name('f', 200)), 0o644, "deep"),
        Entry::directory("sparse/", 0o755),
        sparse("sparse/pax", SparseForm::Pax),
        Entry::special(
            "sparse/only-holes",
            Kind::Sparse { length: 1 << 20, pieces: Vec::new(), form: SparseForm::Pax },
            0o644,
        ),
        Entry::directory("removed/", 0o755),
        Entry::file("removed/by-name", 0o644, "x"),
        Entry::file("removed/stays", 0o644, "x"),
        Entry::directory("removed/folder/", 0o755),
        Entry::file("removed/folder/inside", 0o644, "x"),
        Entry::directory("opaque/", 0o755),
        Entry::file("opaque/hidden", 0o644, "x"),
        Entry::directory("opaque/nested/", 0o755),
        Entry::file("opaque/nested/hidden", 0o644, "x"),
        Entry::directory("types/", 0o755),
        Entry::file("types/file-to-folder", 0o644, "x"),
        Entry::directory("types/folder-to-file/", 0o755),
        Entry::file("types/folder-to-file/inside", 0o644, "x"),
        Entry::symlink("types/link-to-folder", "/opaque"),
        Entry::directory("types/folder-to-link/", 0o755),
        Entry::directory("written/", 0o711).owner(11, 12),
        Entry::file("written/twice-in-a-layer", 0o644, "first"),
        Entry::file("written/twice-in-a-layer", 0o600, "second"),
        Entry::generated("written/large", 0o644, Content::Words { seed: 1, length: 3_000_000 }),
    ]
}

/// The older form has an image of its own, since umoci does not know it.
pub fn old_sparse(storage: &Storage) -> io::Result<Layer> {
    let entries = [Entry::directory("sparse/", 0o755), sparse("sparse/old", SparseForm::Old)];
    Layer::of(storage, Compression::Gzip, &entries)
}

fn sparse(path: &str, form: SparseForm) -> Entry {
    let pieces = vec![(0, b"begin".to_vec()), (65_536, vec![7; 5000]), (3_000_000, b"end".to_vec())];
    Entry::special(path, Kind::Sparse { length: 4_000_000, pieces, form }, 0o644)
}

fn second() -> Vec<Entry> {
    vec![
        Entry::directory("links/", 0o755).mtime(1_710_000_000, 0),
        Entry::file("links/two", 0o644, "no longer the same file"),
        Entry::directory("removed/", 0o755).mtime(1_710_000_000, 0),
        Entry::file("removed/.wh.by-name", 0o000, ""),
        Entry::file("removed/.wh.folder", 0o000, ""),
        Entry::directory("opaque/", 0o750).mtime(1_710_000_000, 0),
        Entry::file("opaque/.wh..wh..opq", 0o000, ""),
        Entry::file("opaque/seen", 0o644, "x"),
        Entry::directory("types/", 0o755).mtime(1_710_000_000, 0),
        Entry::directory("types/file-to-folder/", 0o700),
        Entry::file("types/file-to-folder/inside", 0o644, "x"),
        Entry::file("types/folder-to-file", 0o644, "x"),
        Entry::directory("types/link-to-folder/", 0o755),
        Entry::file("types/link-to-folder/inside", 0o644, "not in /opaque"),
        Entry::symlink("types/folder-to-link", "/removed"),
        Entry::directory("written/", 0o711).owner(11, 12).mtime(1_710_000_000, 0),
        Entry::file("written/above", 0o644, "x"),
    ]
}

fn third() -> Vec<Entry> {
    vec![
        Entry::directory("removed/", 0o755).mtime(1_720_000_000, 0),
        Entry::directory("removed/folder/", 0o755),
        Entry::file("removed/folder/again", 0o644, "removed below, made anew above"),
        Entry::directory("opaque/", 0o755).mtime(1_720_000_000, 0),
        Entry::directory("opaque/nested/", 0o755),
        Entry::file("opaque/nested/seen", 0o644, "x"),
        Entry::directory("attributes/", 0o755).mtime(1_720_000_000, 0),
        Entry::file("attributes/user", 0o644, "x").xattr("user.colour", "red"),
    ]
}
