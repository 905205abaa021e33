//! The AppArmor profile that a pod or a container asks for (CRI `SecurityProfile`): what is asked for and cannot be had is refused, never dropped.

use linkspan_runtime_oci::apparmor::{self, DEFAULT_PROFILE, Support};

use crate::error::Error;
use crate::model::SecurityProfile;
use crate::pods::Inner;

/// What a profile asked for by name is told where there is none to be had.
const NO_APPARMOR: &str = "the host's kernel has no AppArmor, or it is switched off: boot with `apparmor=1 security=apparmor`, or ask \
     for RuntimeDefault or Unconfined";
const FIELD: &str = "config.linux.security_context.apparmor";

/// What the choice depends on.
#[derive(Clone, Debug)]
pub(crate) struct AppArmor {
    pub(crate) support: Support,
    /// Whether the profile that is asked for by its name is loaded.
    pub(crate) named_profile_loaded: bool,
}

impl AppArmor {
    /// # Errors
    /// [`Error::Runtime`] if the kernel's list of profiles cannot be read.
    pub(crate) fn read(inner: &Inner, profile: Option<&SecurityProfile>) -> Result<Self, Error> {
        let support = inner.host.apparmor.clone();
        let named_profile_loaded = match (profile, &support) {
            (Some(SecurityProfile::Localhost(name)), Support::On { .. }) => {
                apparmor::is_loaded(localhost_name(name))?
            }
            _ => false,
        };
        Ok(Self { support, named_profile_loaded })
    }

    /// `None`: the one that the runtime's process has, which is none on an ordinary host.
    ///
    /// What is not asked for is the default where there is one, as Kubernetes has it; who is privileged is confined
    /// only by a profile that is named.
    ///
    /// # Errors
    /// [`Error::BadConfig`] names the field.
    pub(crate) fn choose(
        &self,
        profile: Option<&SecurityProfile>,
        privileged: bool,
    ) -> Result<Option<String>, Error> {
        let default_profile = match (profile, &self.support) {
            (Some(SecurityProfile::Localhost(_)), Support::Off) => {
                return Err(Error::bad(FIELD, NO_APPARMOR));
            }
            (Some(SecurityProfile::Localhost(name)), Support::On { .. }) => {
                let name = localhost_name(name);
                let missing = || {
                    let reason =
                        format!("profile {name:?} is not loaded on this node; apparmor_parser loads it");
                    Error::bad(format!("{FIELD}.localhost_ref"), reason)
                };
                return self.named_profile_loaded.then(|| Some(name.to_owned())).ok_or_else(missing);
            }
            (Some(SecurityProfile::Unconfined), _) | (_, Support::Off) => return Ok(None),
            (None | Some(SecurityProfile::RuntimeDefault), _) if privileged => return Ok(None),
            (None | Some(SecurityProfile::RuntimeDefault), Support::On { default_profile }) => {
                default_profile
            }
        };
        match (default_profile, profile) {
            (Ok(()), _) => Ok(Some(DEFAULT_PROFILE.to_owned())),
            // The log of the daemon's start has said so.
            (Err(_), None) => Ok(None),
            (Err(reason), Some(_)) => {
                Err(Error::bad(FIELD, format!("the default profile could not be loaded: {reason}")))
            }
        }
    }
}

/// Older kubelets write a prefix before the name.
fn localhost_name(reference: &str) -> &str {
    reference.strip_prefix("localhost/").unwrap_or(reference)
}
