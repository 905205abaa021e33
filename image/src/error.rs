//! What can go wrong between a reference and a root file system.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Every variant is something that a caller could act on. Cheap to clone, because all callers that wait for
/// the same pull get its one result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The name is not a reference in Docker's grammar.
    #[error("image reference {reference:?}: {reason}")]
    BadReference { reference: String, reason: String },
    /// A string that should be a digest or an image ID is none.
    #[error("digest {digest:?}: {reason}")]
    BadDigest { digest: String, reason: String },
    /// The registry has no such manifest or blob.
    #[error("{what}: not found")]
    NotFound { what: String },
    /// No such image in the local store.
    #[error("no such image: {name}")]
    NoSuchImage { name: String },
    /// No such root file system.
    #[error("no such root file system: {key}")]
    NoSuchRootfs { key: String },
    /// The registry refused our credentials, or wants some and got none.
    #[error("{what}: unauthorized: {reason}")]
    Unauthorized { what: String, reason: String },
    /// The registry cannot be reached or does not behave; trying again later may help.
    #[error("{what}: registry unavailable: {reason}")]
    RegistryUnavailable { what: String, reason: String },
    /// The transfer made no progress, or an operation passed its deadline.
    #[error("{what}: timed out")]
    TimedOut { what: String },
    /// A running container needs the image.
    #[error("image {image} is in use by a container")]
    InUse { image: String },
    /// Content does not hash to what was promised.
    #[error("{what}: expected digest {expected}, got {actual}")]
    DigestMismatch { what: String, expected: String, actual: String },
    /// Content is shorter or longer than its descriptor says.
    #[error("{what}: expected {expected} bytes, got {actual}")]
    SizeMismatch { what: String, expected: u64, actual: u64 },
    /// An index has nothing for this machine.
    #[error("{what}: no manifest for platform {platform}")]
    NoPlatform { what: String, platform: String },
    /// A manifest, index or image configuration that cannot be used.
    #[error("{what}: {reason}")]
    BadManifest { what: String, reason: String },
    /// A layer that is damaged, hostile or over a limit.
    #[error("layer {layer}: {reason}")]
    BadLayer { layer: String, reason: String },
    /// An archive given to `load` that is none, or is damaged.
    #[error("archive {}: {reason}", path.display())]
    BadArchive { path: PathBuf, reason: String },
    /// `registries.conf`, `hosts.toml`, `auth.json` or a certificate that cannot be used.
    #[error("{}: {reason}", path.display())]
    BadConfig { path: PathBuf, reason: String },
    /// A key or argument that the caller must not use.
    #[error("{what}: {reason}")]
    BadArgument { what: String, reason: String },
    /// No ID-mapped mount can be made of it: the kernel or its file system has none.
    #[error(
        "{}: cannot be mounted with other owners: {source} (Linux 5.12 can on ext4 and xfs, 5.15 on btrfs, 6.3 on tmpfs; \
         network file systems mostly cannot)",
        path.display()
    )]
    NotMappable { path: PathBuf, source: Arc<io::Error> },
    /// Not built yet.
    #[error("{what} is not implemented")]
    Unimplemented { what: &'static str },
    /// The file system said no. `action` is what was tried: `renaming`, `mounting`.
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: Arc<io::Error> },
    /// One of our own tasks ended without a result (it panicked, or the process is going down).
    #[error("{what}: task ended without a result")]
    TaskLost { what: String },
}

impl Error {
    /// For `map_err`: `File::open(path).map_err(Error::io("opening", path))`.
    pub(crate) fn io<E: Into<io::Error>>(action: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source: Arc::new(source.into()) }
    }
}

/// A parser's complaint about a file of secrets, without what it quotes.
pub(crate) fn unquoted(complaint: &str) -> String {
    let quote = complaint.find(['"', '`']);
    let quoted = quote.and_then(|start| {
        let end = complaint.rfind(&complaint[start..=start])?;
        (end > start).then_some((start, end + 1))
    });
    match quoted {
        Some((start, end)) => format!("{}…{}", &complaint[..start], &complaint[end..]),
        None => complaint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_tell_no_secret() {
        let check = |complaint: &str, expected: &str| assert_eq!(unquoted(complaint), expected);
        check(
            r#"invalid type: string "hu\"sh", expected a map at line 1 column 9"#,
            "invalid type: string …, expected a map at line 1 column 9",
        );
        check(
            "invalid type: integer `1234`, expected a string at line 1 column 9",
            "invalid type: integer …, expected a string at line 1 column 9",
        );
        check("EOF while parsing at line 1", "EOF while parsing at line 1");
        check("a lone \" at the end", "a lone \" at the end");
    }
}
