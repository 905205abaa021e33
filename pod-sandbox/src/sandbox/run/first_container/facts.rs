//! What the plan of a sandbox's own container depends on besides the sandbox's plan. Reads only.

use std::sync::Arc;

use linkspan_runtime_oci::cgroup::Support;
use linkspan_runtime_oci::{CgroupMode, Features, seccomp};

use crate::apparmor_profile::AppArmor;
use crate::error::Error;
use crate::handler::HandlerOptions;
use crate::model::SandboxConfig;
use crate::pods::Inner;
use crate::seccomp_filter;

#[derive(Clone, Debug)]
pub(in crate::sandbox::run) struct Facts {
    pub(super) features: Features,
    pub(super) seccomp: Option<seccomp::LinuxSeccomp>,
    pub(super) cgroup_mode: CgroupMode,
    pub(super) support: Support,
    pub(super) apparmor: AppArmor,
    pub(super) handler: Arc<HandlerOptions>,
}

pub(in crate::sandbox::run) async fn read(
    inner: &Inner,
    handler: &str,
    config: &SandboxConfig,
) -> Result<Facts, Error> {
    let handler = inner.handler(handler)?;
    let context = &config.linux.security_context;
    Ok(Facts {
        features: handler.runtime.features().await?,
        // Pause has no capabilities.
        seccomp: seccomp_filter::read(inner, context.seccomp.as_ref(), || Ok(Vec::new()))?,
        cgroup_mode: inner.host.cgroup_mode,
        support: inner.cgroups.support(),
        apparmor: AppArmor::read(inner, context.apparmor.as_ref())?,
        handler: Arc::clone(&handler.options),
    })
}
