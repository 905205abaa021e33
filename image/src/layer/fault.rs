//! Why a layer could not be unpacked, before it is known which layer it was.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Error;

/// Whose fault it is decides what a caller does: fetch again, refuse the image, or free some disk.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The blob could not be read to its end.
    Source(io::Error),
    /// The content is damaged, hostile or over a limit.
    Bad(String),
    /// The disk said no.
    Disk { action: &'static str, name: Vec<u8>, source: io::Error },
}

impl Fault {
    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self::Bad(reason.into())
    }

    /// For `map_err`. An errno that only the name or its target can have caused counts against the layer.
    pub(crate) fn disk(action: &'static str, name: &[u8]) -> impl FnOnce(rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        move |errno| match errno {
            Errno::NAMETOOLONG | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::INVAL | Errno::MLINK => {
                Self::Bad(format!("{action} {}: {}", show(name), io::Error::from(errno)))
            }
            _ => Self::Disk { action, name: name.to_owned(), source: errno.into() },
        }
    }

    /// Names the layer and says where on disk it was being put.
    pub(crate) fn into_error(self, layer: &str, directory: &std::path::Path) -> Error {
        match self {
            Self::Source(source) => match source.downcast::<Error>() {
                Ok(error) => error,
                Err(source) => {
                    Error::BadLayer { layer: layer.to_owned(), reason: format!("reading the blob: {source}") }
                }
            },
            Self::Bad(reason) => Error::BadLayer { layer: layer.to_owned(), reason },
            Self::Disk { action, name, source } => {
                let path: PathBuf = directory.join(show(&name));
                Error::Io { action, path, source: Arc::new(source) }
            }
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Source(source) => write!(f, "reading: {source}"),
            Self::Bad(reason) => f.write_str(reason),
            Self::Disk { action, name, source } => write!(f, "{action} {}: {source}", show(name)),
        }
    }
}

/// A name as people can read it, whatever bytes it has.
pub(crate) fn show(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}
