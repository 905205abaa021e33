//! A layer that is one file: a blob of an artifact, kept as it is.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::extract::{Extracted, Size};
use super::fault::{Fault, show};
use super::name::{Name, split};
use super::{LayerStore, StagedLayer, check_digest};
use crate::digest::Hasher;
use crate::manifest::Descriptor;
use crate::{Digest, Error};

const BLOCK: u64 = 4096;
const BUFFER: usize = 256 * 1024;

impl LayerStore {
    /// Writes a blob into a file called `name`, mode 0644, owned by root, and checks its size and its digest.
    /// Blocking. An error that the source wraps (`io::Error::other(Error)`) comes back as it is.
    pub(crate) fn take_file(
        &self,
        source: impl Read,
        blob: &Descriptor,
        name: &Name,
    ) -> Result<StagedLayer, Error> {
        let layer = blob.digest.to_string();
        let most = self.shared.limits.max_bytes;
        if blob.size > most {
            return Err(Error::BadLayer {
                layer,
                reason: format!("has {} bytes, more than {most}", blob.size),
            });
        }
        let mut staged = StagedLayer {
            dir: self.new_staging()?,
            trash: self.shared.trash.clone(),
            extracted: Extracted::default(),
            diff_id: blob.digest.clone(),
            blob: blob.digest.clone(),
        };
        let into_error = |fault: Fault| fault.into_error(&layer, &staged.dir);
        let implied = parents(&staged.diff(), name).map_err(into_error)?;
        // One byte more than promised is enough to know that the size is wrong.
        let source = source.take(blob.size.saturating_add(1));
        let (bytes, digest) = write(source, &staged.diff(), blob, name).map_err(into_error)?;
        if bytes != blob.size {
            return Err(Error::SizeMismatch { what: layer, expected: blob.size, actual: bytes });
        }
        check_digest(format!("blob {layer}"), &blob.digest, &digest)?;
        let inodes = implied.len() as u64 + 1;
        staged.extracted = Extracted {
            size: Size {
                content_bytes: bytes,
                disk_bytes: bytes.next_multiple_of(BLOCK) + implied.len() as u64 * BLOCK,
                inodes,
            },
            implied,
            ..Extracted::default()
        };
        Ok(staged)
    }
}

/// Makes the directories above the file; gives their names, the root's first.
fn parents(root: &Path, name: &Name) -> Result<Vec<Vec<u8>>, Fault> {
    let mut names = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((parent, _)) = split(rest) {
        names.push(parent.to_vec());
        rest = parent;
    }
    names.reverse();
    let failed = |name: &[u8]| {
        let name = name.to_vec();
        move |source| Fault::Disk { action: "creating", name, source }
    };
    // Whatever the umask is.
    let set_mode = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    set_mode(root).map_err(failed(b""))?;
    for name in names.iter().filter(|name| !name.is_empty()) {
        let path = root.join(as_path(name)?);
        let made = fs::DirBuilder::new().mode(0o755).create(&path).and_then(|()| set_mode(&path));
        made.map_err(failed(name))?;
    }
    Ok(names)
}

fn write(mut source: impl Read, root: &Path, blob: &Descriptor, name: &Name) -> Result<(u64, Digest), Fault> {
    let failed = |action| {
        let name = name.as_bytes().to_vec();
        move |source| Fault::Disk { action, name, source }
    };
    let path = root.join(as_path(name.as_bytes())?);
    let mut options = fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o644).open(&path).map_err(failed("creating"))?;
    let mut hasher = Hasher::new(blob.digest.algorithm());
    let (mut bytes, mut buffer) = (0, vec![0; BUFFER]);
    loop {
        let got = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Fault::Source(error)),
        };
        hasher.update(&buffer[..got]);
        file.write_all(&buffer[..got]).map_err(failed("writing"))?;
        bytes += got as u64;
    }
    // The same wherever the artifact is unpacked.
    file.set_modified(UNIX_EPOCH).map_err(failed("setting the time of"))?;
    let mode = fs::Permissions::from_mode(0o644);
    file.set_permissions(mode).map_err(failed("setting the mode of"))?;
    Ok((bytes, hasher.finish()))
}

fn as_path(name: &[u8]) -> Result<&Path, Fault> {
    let text = std::str::from_utf8(name).map_err(|_| Fault::bad(format!("{}: is not UTF-8", show(name))))?;
    Ok(Path::new(text))
}
