//! The seccomp filter that a pod or a container asks for (CRI `SecurityProfile`). Reads only.

use std::path::PathBuf;

use linkspan_runtime_oci::seccomp::{self, LinuxSeccomp};

use crate::error::Error;
use crate::model::SecurityProfile;
use crate::pods::Inner;

/// `None`: unconfined. `capabilities` gives those that the process will have, asked for only if there is a filter.
///
/// # Errors
/// [`Error::BadConfig`] names the field of a profile that is not there or none; [`Error::Runtime`].
pub(crate) fn read(
    inner: &Inner,
    profile: Option<&SecurityProfile>,
    capabilities: impl FnOnce() -> Result<Vec<String>, Error>,
) -> Result<Option<LinuxSeccomp>, Error> {
    let profile = match profile {
        None | Some(SecurityProfile::Unconfined) => return Ok(None),
        Some(SecurityProfile::RuntimeDefault) => seccomp::Profile::RuntimeDefault,
        Some(SecurityProfile::Localhost(path)) => seccomp::Profile::Localhost(PathBuf::from(path)),
    };
    let facts = seccomp::Facts::of_host(capabilities()?);
    let filter = seccomp::load(&profile, &facts, inner.settings.container.seccomp_profile.as_deref());
    filter.map_err(|error| match profile {
        seccomp::Profile::Localhost(_) => {
            Error::bad("config.linux.security_context.seccomp.localhost_ref", error.to_string())
        }
        seccomp::Profile::RuntimeDefault | seccomp::Profile::Unconfined => error.into(),
    })
}
