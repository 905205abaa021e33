//! Linux security modules: what is asked for and cannot be had is refused, never dropped.

use crate::container::create::facts::Facts;
use crate::error::Error;
use crate::model::{SecurityContext, SecurityProfile};

/// Older kubelets write the name like this.
const LOCALHOST: &str = "localhost/";

/// The AppArmor profile; `None`: the one that the runtime's process has.
pub(super) fn apparmor(context: &SecurityContext, facts: &Facts) -> Result<Option<String>, Error> {
    match &context.apparmor {
        None | Some(SecurityProfile::RuntimeDefault | SecurityProfile::Unconfined) => Ok(None),
        Some(SecurityProfile::Localhost(_)) if !facts.apparmor => {
            let field = "config.linux.security_context.apparmor";
            Err(Error::bad(field, "the host's kernel has no AppArmor, or it is switched off"))
        }
        Some(SecurityProfile::Localhost(name)) => {
            Ok(Some(name.strip_prefix(LOCALHOST).unwrap_or(name).to_owned()))
        }
    }
}

/// Labels are of no meaning on a kernel without SELinux, and are left out there.
pub(super) fn selinux(context: &SecurityContext, facts: &Facts) -> Result<(), Error> {
    match &context.selinux_options {
        Some(options) if facts.selinux && !options.is_empty() => {
            Err(Error::Unimplemented("SELinux labels (config.linux.security_context.selinux_options)"))
        }
        _ => Ok(()),
    }
}
