//! The OCI spec of one container: plain data in, `config.json` out, nothing read from the host.
//!
//! Source: runtime-spec, `config.md` and `config-linux.md`; where it leaves a choice, what Kubernetes relies on
//! (CRI `api.proto`) decides.

mod base;
mod capability;
mod device;
mod input;
mod mount;
mod namespace;
mod process;
mod resource;

use std::path::PathBuf;
use std::sync::Arc;

use oci_spec::runtime::{Linux, Root};

use crate::cdi;
use crate::error::Error;
use crate::oci_hooks::OciHooks;

pub use base::BaseSpec;
pub use capability::{granted as granted_capabilities, lacking as lacking_capabilities};
pub use input::{
    CapabilityInput, DeviceInput, DeviceKind, HugepageLimit, IdMapping, MountInput, MountOwners,
    NamespaceInput, Namespaces, Propagation, Resources, Rlimit, SpecInput,
};
pub(crate) use mount::device_mount;
pub use oci_spec::runtime::Spec;
pub use process::{clamp_oom_score_adj, exec_process};
pub use resource::check_support;
pub(crate) use resource::linux_resources;

/// The spec of the container that `input` describes. The same input gives the same spec.
///
/// # Errors
/// [`Error::BadSpec`] names the field that no spec can express; [`Error::RecursiveReadOnlyUnsupported`].
pub fn build(input: &SpecInput) -> Result<Spec, Error> {
    let mut root = Root::default();
    root.set_path(input.rootfs.clone()).set_readonly(Some(input.readonly_rootfs));

    let mut spec = Spec::default();
    spec.set_version(input.oci_version.clone())
        .set_root(Some(root))
        .set_mounts(Some(mount::mounts(input)?))
        .set_process(Some(process::process(input)?))
        .set_hostname(own_hostname(input))
        .set_annotations(Some(input.annotations.clone().into_iter().collect()))
        .set_linux(Some(linux(input)?));
    Ok(spec)
}

/// What changes a spec after it was built from its input, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layers {
    /// Under what is built.
    pub base: Option<Arc<BaseSpec>>,
    pub cdi: cdi::Edits,
    pub hooks: OciHooks,
    /// Whether the request has bind mounts of its own, which hooks may depend on.
    pub has_bind_mounts: bool,
}

/// [`build`] with its layers: the spec as the runtime gets it.
///
/// # Errors
/// As for [`build`]; [`Error::BadSpec`] for what a layer asks for and the spec's version does not have.
pub fn compose(input: &SpecInput, layers: &Layers) -> Result<Spec, Error> {
    let mut spec = build(input)?;
    if let Some(base) = &layers.base {
        spec = base.under(&spec, input.all_devices)?;
    }
    layers.cdi.apply(&mut spec)?;
    layers.hooks.apply(&mut spec, layers.has_bind_mounts);
    Ok(spec)
}

/// What `build` leaves out of the spec although it was asked for; one line each, for the log.
#[must_use]
pub fn warnings(input: &SpecInput) -> Vec<String> {
    capability::warnings(input)
}

fn linux(input: &SpecInput) -> Result<Linux, Error> {
    let mut resources = linux_resources(&input.resources, input.support, input.cgroup)?;
    resources.set_devices(Some(device::rules(input)));

    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_cgroups_path(cgroups_path(input)?)
        .set_namespaces(Some(namespace::namespaces(&input.namespaces)?))
        .set_uid_mappings(namespace::mappings(&input.uid_mappings)?)
        .set_gid_mappings(namespace::mappings(&input.gid_mappings)?)
        .set_devices(device::nodes(input)?)
        .set_rootfs_propagation(mount::rootfs_propagation(input))
        .set_mount_label(input.selinux_mount_label.clone())
        .set_masked_paths(unless_privileged(input, &input.masked_paths))
        .set_readonly_paths(unless_privileged(input, &input.readonly_paths))
        .set_seccomp(input.seccomp.clone().filter(|_| !input.privileged));
    if !input.sysctls.is_empty() {
        linux.set_sysctl(Some(input.sysctls.clone().into_iter().collect()));
    }
    Ok(linux)
}

/// The runtime would rename the whole pod if a container in the pod's UTS namespace had a hostname.
fn own_hostname(input: &SpecInput) -> Option<String> {
    input.hostname.clone().filter(|_| input.namespaces.uts == NamespaceInput::New)
}

fn cgroups_path(input: &SpecInput) -> Result<Option<PathBuf>, Error> {
    match input.cgroups_path.as_str() {
        "" => Ok(None),
        // A relative path would land below the daemon's own group.
        path if path.starts_with('/') && !path.split('/').any(|part| part == "..") => Ok(Some(path.into())),
        path => Err(Error::bad("cgroups_path", format!("{path:?} is not a clean absolute path"))),
    }
}

fn unless_privileged(input: &SpecInput, paths: &[String]) -> Option<Vec<String>> {
    (!input.privileged && !paths.is_empty()).then(|| paths.to_vec())
}

#[cfg(test)]
mod tests;
