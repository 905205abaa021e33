//! What a new sandbox's plan depends on besides the request. Reads only.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use linkspan_config::SandboxKind;
use linkspan_runtime_oci::cgroup::Support;
use linkspan_runtime_oci::{CgroupMode, Timestamp};

use crate::error::Error;
use crate::host_files::{HostAccess, Step};
use crate::layout::Layout;
use crate::model::{SandboxConfig, SandboxId};
use crate::operations::stage;
use crate::pods::Inner;
use crate::{selinux, user_namespace};

#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) id: SandboxId,
    pub(super) now: Timestamp,
    pub(super) layout: Layout,
    /// As requested.
    pub(super) runtime_handler: String,
    pub(super) handler: String,
    pub(super) runtime_path: PathBuf,
    pub(super) kind: SandboxKind,
    pub(super) host_name: String,
    /// The host's `/etc/resolv.conf`; empty if there is none.
    pub(super) host_resolv_conf: String,
    /// The host's `/etc/hosts`; empty if there is none.
    pub(super) host_hosts: String,
    pub(super) oom_score_adj_floor: i32,
    /// Our own top-level group.
    pub(super) cgroup_name: String,
    /// Of the group that the request names, and those above it, the ones that are still to be made, the outermost first.
    pub(super) missing_groups: Vec<String>,
    pub(super) default_sysctls: BTreeMap<String, String>,
    /// What is in the way of a user namespace. Asked for only if the pod wants one.
    pub(super) no_user_namespaces: Option<String>,
    pub(super) selinux: selinux::Support,
    /// One that no pod has.
    pub(super) selinux_level: Option<String>,
    pub(super) cgroup_mode: CgroupMode,
    pub(super) support: Support,
}

pub(super) async fn read(
    inner: &Inner,
    config: &SandboxConfig,
    runtime_handler: String,
    handler: String,
) -> Result<Facts, Error> {
    let asked = inner.handler(&handler)?;
    // Whatever it can do: that it is there at all, before anything is made for it.
    let (features, files) =
        tokio::join!(stage("runtime features", asked.runtime.features()), name_files(inner, config));
    let (features, (host_resolv_conf, host_hosts)) = (features?, files?);
    let no_user_namespaces =
        user_namespace::of(config).and_then(|_| user_namespace::obstacle(inner, asked, &features));
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Facts {
        id: SandboxId::generate(),
        now: Timestamp::now(),
        layout: inner.layout.clone(),
        runtime_handler,
        runtime_path: asked.path.clone(),
        kind: asked.sandbox,
        handler,
        host_name,
        host_resolv_conf,
        host_hosts,
        oom_score_adj_floor: inner.host.oom_score_adj_floor,
        cgroup_name: inner.settings.cgroup_name.clone(),
        missing_groups: match config.linux.cgroup_parent.trim_matches('/') {
            "" => Vec::new(),
            given => inner.cgroups.missing(&format!("/{given}"))?,
        },
        default_sysctls: inner.settings.container.default_sysctls.clone(),
        no_user_namespaces,
        selinux: inner.host.selinux.clone(),
        selinux_level: free_level(inner),
        cgroup_mode: inner.cgroups.mode(),
        support: inner.cgroups.support(),
    })
}

/// The host's `/etc/resolv.conf` and `/etc/hosts`, as far as the pod may need them.
async fn name_files(inner: &Inner, config: &SandboxConfig) -> Result<(String, String), Error> {
    const RESOLV_CONF: &str = "/etc/resolv.conf";
    const HOSTS: &str = "/etc/hosts";
    let access = HostAccess::new(config, "reading", RESOLV_CONF);
    let read = |step: &Step| {
        let resolv_conf = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        step.next("reading", Path::new(HOSTS))?;
        Ok((resolv_conf, fs::read_to_string(HOSTS).unwrap_or_default()))
    };
    inner.host_files.run(access, read).await
}

fn free_level(inner: &Inner) -> Option<String> {
    if !matches!(inner.host.selinux, selinux::Support::On(Ok(_))) {
        return None;
    }
    let snapshot = inner.table.snapshot();
    let taken = snapshot.sandboxes.values().filter_map(|record| record.selinux_level.as_deref()).collect();
    inner.selinux_levels.next(&taken)
}
