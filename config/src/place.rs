//! Where default paths lie: on the host itself, or below a directory of a daemon beside it.

use std::path::{Path, PathBuf};

/// The root of all default paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    prefix: Option<PathBuf>,
}

impl Place {
    /// The host itself.
    pub fn host() -> Place {
        Place::default()
    }

    /// Everything below `prefix`, an absolute path.
    pub fn below(prefix: impl Into<PathBuf>) -> Place {
        Place { prefix: Some(prefix.into()) }
    }

    /// `path`, an absolute one, as it is here.
    pub fn join(&self, path: &str) -> PathBuf {
        match &self.prefix {
            None => PathBuf::from(path),
            Some(prefix) => prefix.join(path.trim_start_matches('/')),
        }
    }

    /// `name`, made unique to this place, for what is not a path: cgroups, interfaces. At most 15 bytes for a
    /// `name` of up to 8, as interfaces need.
    pub(crate) fn tag(&self, name: &str) -> String {
        match &self.prefix {
            None if name == "lspan" => "lspan0".to_owned(),
            None => name.to_owned(),
            Some(prefix) if name.len() > 6 => format!("{name}-{:08x}", fingerprint(prefix)),
            Some(prefix) => format!("{name}{:08x}", fingerprint(prefix)),
        }
    }
}

/// FNV-1a: the same for the same path in every run and build, which `std`'s hasher does not promise.
fn fingerprint(path: &Path) -> u32 {
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
