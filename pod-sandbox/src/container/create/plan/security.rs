//! Linux security modules: what is asked for and cannot be had is refused, never dropped.

use std::path::PathBuf;

use linkspan_image::IdMap;
use linkspan_runtime_oci::CgroupMode;
use linkspan_runtime_oci::spec::lacking_capabilities;

use crate::container::create::facts::Facts;
use crate::error::Error;
use crate::model::{Mount, SecurityContext};
use crate::selinux::{self, Labels};
use crate::user_namespace;

/// What is asked for and cannot be given.
pub(super) fn check(context: &SecurityContext, users: Option<IdMap>, facts: &Facts) -> Result<(), Error> {
    mapped(users, facts)?;
    capabilities(context, facts)?;
    seccomp(facts)
}

/// Whoever the container runs as must be somebody in the pod's user namespace.
fn mapped(users: Option<IdMap>, facts: &Facts) -> Result<(), Error> {
    let Some(users) = users else { return Ok(()) };
    user_namespace::check_mapped(users, "run_as_user", facts.user.uid)?;
    user_namespace::check_mapped(users, "run_as_group", facts.user.gid)?;
    let groups = &facts.user.additional_gids;
    groups.iter().try_for_each(|gid| user_namespace::check_mapped(users, "supplemental_groups", *gid))
}

/// Volumes to be given the container's label: those that ask for it, but for images, which are mounted with it.
pub(super) fn relabelled(mounts: &[Mount], labels: Option<&Labels>) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    let wanted =
        mounts.iter().enumerate().filter(|(_, mount)| mount.selinux_relabel && mount.image.is_none());
    for (index, mount) in wanted.filter(|_| labels.is_some()) {
        let path = PathBuf::from(&mount.host_path);
        selinux::check_path(&format!("config.mounts[{index}].selinux_relabel"), &path)?;
        paths.push(path);
    }
    Ok(paths)
}

/// A privileged container has all that the daemon has, and asks for nothing beyond it.
fn capabilities(context: &SecurityContext, facts: &Facts) -> Result<(), Error> {
    let lacking = lacking_capabilities(&facts.capabilities);
    if lacking.is_empty() || context.privileged {
        return Ok(());
    }
    let reason = format!(
        "{} cannot be given: the daemon's own bounding set is without; it must be started with it",
        lacking.join(", ")
    );
    Err(Error::bad("config.linux.security_context.capabilities", reason))
}

/// On v1 a container sees the host's groups, and not only its own could be written.
pub(super) fn cgroup_writable(facts: &Facts) -> Result<bool, Error> {
    match (facts.handler.cgroup_writable, facts.cgroup_mode) {
        (true, CgroupMode::V1 | CgroupMode::Hybrid) => Err(Error::bad(
            "runtime_handler",
            "its option cgroup_writable needs cgroup v2, and this host's controllers are on v1; systemd mounts v2 alone with \
             `systemd.unified_cgroup_hierarchy=1`",
        )),
        (writable, _) => Ok(writable),
    }
}

/// A runtime without seccomp leaves the filter out without a word.
fn seccomp(facts: &Facts) -> Result<(), Error> {
    match facts.seccomp.is_some() && !facts.features.seccomp {
        true => {
            let reason = "the handler's runtime says that it was built without seccomp; another build of it, or Unconfined, will do";
            Err(Error::bad("config.linux.security_context.seccomp", reason))
        }
        false => Ok(()),
    }
}
