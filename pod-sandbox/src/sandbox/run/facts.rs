//! What a new sandbox's plan depends on besides the request. Reads only.

use std::collections::BTreeMap;
use std::fs;

use linkspan_runtime_oci::Timestamp;

use crate::error::Error;
use crate::layout::Layout;
use crate::model::SandboxId;
use crate::pods::Inner;

#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) id: SandboxId,
    pub(super) now: Timestamp,
    pub(super) layout: Layout,
    /// As requested.
    pub(super) runtime_handler: String,
    pub(super) handler: String,
    pub(super) host_name: String,
    /// The host's `/etc/resolv.conf`; empty if there is none.
    pub(super) host_resolv_conf: String,
    pub(super) oom_score_adj_floor: i32,
    /// Our own top-level group.
    pub(super) cgroup_name: String,
    pub(super) default_sysctls: BTreeMap<String, String>,
}

pub(super) fn read(inner: &Inner, runtime_handler: String, handler: String) -> Result<Facts, Error> {
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Ok(Facts {
        id: SandboxId::generate(),
        now: Timestamp::now(),
        layout: inner.layout.clone(),
        runtime_handler,
        handler,
        host_name,
        host_resolv_conf: fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        oom_score_adj_floor: inner.host.oom_score_adj_floor,
        cgroup_name: inner.settings.cgroup_name.clone(),
        default_sysctls: inner.settings.container.default_sysctls.clone(),
    })
}
