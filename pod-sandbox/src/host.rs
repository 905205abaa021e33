//! What the host can do, read once when the daemon starts.

use std::path::Path;

use linkspan_image::Images;
use linkspan_runtime_oci::{CgroupMode, apparmor, host};

use crate::error::Error;
use crate::{selinux, user_namespace};

/// Facts that do not change while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// `CAP_…` names that containers can have at most.
    pub(crate) bounding: Vec<String>,
    pub(crate) oom_score_adj_floor: i32,
    pub(crate) cgroup_mode: CgroupMode,
    pub(crate) apparmor: apparmor::Support,
    pub(crate) selinux: selinux::Support,
    /// What is in the way of pods with a user namespace.
    pub(crate) no_user_namespaces: Option<String>,
}

impl Host {
    pub(crate) async fn read(cgroup_mode: CgroupMode, images: &Images) -> Result<Self, Error> {
        let apparmor = apparmor::prepare();
        if let apparmor::Support::On { default_profile: Err(reason) } = &apparmor {
            tracing::warn!(%reason, "no default AppArmor profile: containers that ask for it are refused");
        }
        let selinux = selinux::read(Path::new("/"));
        match &selinux {
            selinux::Support::Off => {
                tracing::info!("the kernel has no SELinux: labels that pods ask for are left out");
            }
            selinux::Support::On(Err(reason)) => tracing::warn!(%reason, "containers get no SELinux labels"),
            selinux::Support::On(Ok(_)) => {}
        }
        Ok(Self {
            bounding: host::bounding_set()?,
            oom_score_adj_floor: host::oom_score_adj_floor()?,
            cgroup_mode,
            apparmor,
            selinux,
            no_user_namespaces: user_namespace::of_host(images).await,
        })
    }
}
