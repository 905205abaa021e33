//! What an archive of images may hold.

use std::cell::RefCell;
use std::io::{self, Read};

use super::contents::Contents;
use super::{docker, oci};
use crate::layer::fuzz::{mended, scratch};

thread_local! {
    static DIR: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// An archive of `docker save`, or an OCI archive, plain or compressed: what images it has, and their layers as far as they go.
///
/// # Panics
/// On a fault.
pub fn archive(data: &[u8]) {
    DIR.with_borrow_mut(|dir| {
        let dir = dir.get_or_insert_with(scratch);
        let path = dir.path().join("image.tar");
        let is_compressed = matches!(data, [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..]);
        let bytes = if is_compressed { data.to_vec() } else { mended(data) };
        std::fs::write(&path, bytes).expect("a file");
        let Ok(contents) = Contents::open(&path, dir.path()) else { return };
        let images =
            if contents.has("index.json") { oci::images(&contents) } else { docker::images(&contents) };
        for (descriptor, name) in images.into_iter().flatten().flat_map(|image| image.layers) {
            let Ok(source) = contents.read(&name) else { continue };
            let size = contents.size(&name).expect("what can be read has a size");
            // A file may say that it is longer than the archive.
            let length = io::copy(&mut source.take(1 << 20), &mut io::sink()).expect("a file is read");
            assert!(length <= size, "{length} bytes of {descriptor:?}, whose file has {size}");
        }
    });
}
