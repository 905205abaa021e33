//! Seccomp profiles: from the containers project's JSON to the filter of one container.
//!
//! Source of the format: github.com/containers/common, `pkg/seccomp`; of the result: runtime-spec, `config-linux.md`,
//! "Seccomp". System calls that the runtime's libseccomp does not know are the runtime's concern.

mod profile;

use std::env::consts::ARCH;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use oci_spec::runtime::LinuxSeccomp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::host;

use profile::Document;

/// The containers project's published default, Apache-2.0; see `data/README.md`.
const DEFAULT_PROFILE: &[u8] = include_bytes!("../data/seccomp.json");
/// Ours: who may make namespaces. Takes the place of the default's rules for the same calls.
const NAMESPACES: &[u8] = include_bytes!("../data/seccomp-namespaces.json");

/// CRI `SecurityProfile`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Profile {
    RuntimeDefault,
    Unconfined,
    /// A file on the host.
    Localhost(PathBuf),
}

/// What a profile's conditions are decided by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// As Go names it, `amd64`: the profiles' habit.
    pub arch: String,
    /// What the container is granted, `CAP_…`.
    pub capabilities: Vec<String>,
    /// Major and minor.
    pub kernel: (u32, u32),
}

impl Facts {
    /// This machine's, for a container with `capabilities`.
    #[must_use]
    pub fn of_host(capabilities: Vec<String>) -> Self {
        Self { arch: go_arch(ARCH).to_owned(), capabilities, kernel: host::kernel_version() }
    }
}

/// The filter for `profile`; `None` for an unconfined container. `default_file` takes the embedded default's place.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::BadSeccompProfile`] if it says nothing that we understand.
pub fn load(
    profile: &Profile,
    facts: &Facts,
    default_file: Option<&Path>,
) -> Result<Option<LinuxSeccomp>, Error> {
    let path = match (profile, default_file) {
        (Profile::Unconfined, _) => return Ok(None),
        (Profile::RuntimeDefault, None) => return default_profile(facts).map(Some),
        (Profile::RuntimeDefault, Some(path)) => path,
        (Profile::Localhost(path), _) => path,
    };
    let json = fs::read(path).map_err(Error::io(format!("reading seccomp profile {}", path.display())))?;
    resolve(&json, facts).map(Some).map_err(|error| match error {
        Error::BadSeccompProfile { reason } => {
            Error::BadSeccompProfile { reason: format!("{}: {reason}", path.display()) }
        }
        error => error,
    })
}

/// The filter of `RuntimeDefault`.
///
/// # Errors
/// Like [`resolve`]; not for the embedded profile, which a test resolves.
pub fn default_profile(facts: &Facts) -> Result<LinuxSeccomp, Error> {
    static PARSED: OnceLock<Result<Document, String>> = OnceLock::new();
    let parsed = PARSED.get_or_init(|| {
        let mut document = Document::parse(DEFAULT_PROFILE).map_err(|error| error.to_string())?;
        document.replace_rules(Document::parse(NAMESPACES).map_err(|error| error.to_string())?);
        Ok(document)
    });
    let document = parsed.as_ref().map_err(|reason| Error::BadSeccompProfile { reason: reason.clone() })?;
    document.resolve(facts)
}

/// The filter that a profile means here: with `archMap`, `includes` and `excludes`, or a plain OCI `LinuxSeccomp`.
///
/// # Errors
/// [`Error::BadSeccompProfile`].
pub fn resolve(profile_json: &[u8], facts: &Facts) -> Result<LinuxSeccomp, Error> {
    Document::parse(profile_json)?.resolve(facts)
}

fn go_arch(arch: &str) -> &str {
    match arch {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        other => other,
    }
}

#[cfg(test)]
mod tests;
