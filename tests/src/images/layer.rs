//! Layers: tar streams, compressed or not, written into the storage with both their digests known.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::storage::Storage;
use super::tar::{Entry, TarWriter};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A finished layer that lies in the storage.
#[derive(Clone, Debug)]
pub struct Layer {
    pub digest: String,
    pub diff_id: String,
    pub size: u64,
    pub compression: Compression,
}

impl Layer {
    pub fn of(storage: &Storage, compression: Compression, entries: &[Entry]) -> io::Result<Layer> {
        Layer::write(storage, compression, |tar| tar.entries(entries))
    }

    /// `fill` writes the entries.
    pub fn write(
        storage: &Storage,
        compression: Compression,
        fill: impl FnOnce(&mut TarWriter<&mut dyn Write>) -> io::Result<()>,
    ) -> io::Result<Layer> {
        let temporary = storage.temporary();
        let mut blob = Hashed::new(BufWriter::new(File::create(&temporary)?));
        let diff_id = match compression {
            Compression::None => write_tar(&mut blob, fill)?,
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(&mut blob, flate2::Compression::new(4));
                let diff_id = write_tar(&mut encoder, fill)?;
                encoder.finish()?;
                diff_id
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(&mut blob, 3)?;
                let diff_id = write_tar(&mut encoder, fill)?;
                encoder.finish()?;
                diff_id
            }
        };
        blob.flush()?;
        let (digest, size) = blob.finish();
        storage.adopt_blob(&temporary, &digest)?;
        Ok(Layer { digest, diff_id, size, compression })
    }

    pub fn descriptor(&self, docker: bool) -> Value {
        let media_type = match (docker, self.compression) {
            (true, Compression::None) => "application/vnd.docker.image.rootfs.diff.tar",
            (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (false, Compression::None) => "application/vnd.oci.image.layer.v1.tar",
            (false, Compression::Gzip) => "application/vnd.oci.image.layer.v1.tar+gzip",
            (false, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

/// Returns the digest of the tar stream.
fn write_tar(
    out: &mut dyn Write,
    fill: impl FnOnce(&mut TarWriter<&mut dyn Write>) -> io::Result<()>,
) -> io::Result<String> {
    let mut stream = Hashed::new(out);
    let mut tar = TarWriter::new(&mut stream as &mut dyn Write);
    fill(&mut tar)?;
    tar.finish()?;
    Ok(stream.finish().0)
}

/// Passes bytes on, and knows their digest and number in the end.
struct Hashed<W> {
    out: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Hashed<W> {
    fn new(out: W) -> Hashed<W> {
        Hashed { out, hash: Sha256::new(), size: 0 }
    }

    fn finish(self) -> (String, u64) {
        (render(&self.hash.finalize()), self.size)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `sha256:…` of some bytes.
pub fn digest_of(bytes: &[u8]) -> String {
    render(&Sha256::digest(bytes))
}

fn render(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
