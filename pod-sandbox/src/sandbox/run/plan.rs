//! What is to be made for a sandbox. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use linkspan_image::IdMap;
use linkspan_runtime_oci::spec::{check_support, clamp_oom_score_adj};
use serde::Serialize;

use super::facts::Facts;
use crate::entry::PodEntry;
use crate::error::Error;
use crate::model::{DnsConfig, NamespaceMode, Resources, SandboxConfig};
use crate::namespaces::{NamespacePlan, Pinned};
use crate::network::Attachment;
use crate::resources::of_pod;
use crate::sandbox::record::{PodCgroup, SandboxRecord};
use crate::sandbox::state::State;
use crate::selinux::{self, Labels};
use crate::user_namespace;

/// What Kubernetes' users are used to.
const SHM_BYTES: u64 = 64 * 1024 * 1024;
/// As the kubelet's own: the last to be killed for want of memory.
const PAUSE_OOM_SCORE_ADJ: i64 = -998;

#[derive(Clone, Debug, Serialize)]
pub(super) struct SandboxPlan {
    /// In the state `Creating`.
    pub(super) record: SandboxRecord,
    pub(super) pod_dir: PathBuf,
    pub(super) log_directory: Option<PathBuf>,
    pub(super) hostname_file: FilePlan,
    pub(super) resolv_conf: FilePlan,
    /// A copy of the host's, which a container could otherwise write to. The kubelet provides one for all other pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hosts: Option<FilePlan>,
    pub(super) shm: Option<ShmPlan>,
    pub(super) namespaces: NamespacePlan,
    /// Whether pause gets a PID namespace of its own, for containers to join.
    pub(super) new_pid_namespace: bool,
    pub(super) pause_oom_score_adj: i32,
    /// Limits of a pod group that we made; the kubelet sets its own.
    pub(super) pod_limits: Option<Resources>,
    /// Of the pod's files and its shm, and of the sandbox's own container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) selinux_labels: Option<Labels>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FilePlan {
    pub(super) path: PathBuf,
    pub(super) content: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct ShmPlan {
    pub(super) path: PathBuf,
    pub(super) size_bytes: u64,
}

pub(super) fn decide(config: SandboxConfig, facts: &Facts) -> Result<SandboxPlan, Error> {
    let id = &facts.id;
    let wanted = config.linux.security_context.selinux_options.as_ref();
    selinux::policy(&facts.selinux, wanted, "config.linux.security_context.selinux_options")?;
    let selinux_level = match wanted.filter(|wanted| !wanted.level.is_empty()) {
        Some(wanted) => facts.selinux_level.is_some().then(|| wanted.level.clone()),
        None => facts.selinux_level.clone(),
    };
    let options = &config.linux.security_context.namespace_options;
    let own = |mode: NamespaceMode| mode != NamespaceMode::Node;
    let (network, ipc, pid) = (own(options.network), own(options.ipc), own(options.pid));
    let users = user_namespace::of(&config);
    if let (Some(_), Some(reason)) = (users, &facts.no_user_namespaces) {
        return Err(Error::bad("config.linux.security_context.namespace_options.userns_options", reason));
    }
    let cgroup = cgroup(&config, facts);
    let namespaces = NamespacePlan {
        dir: facts.layout.namespaces_dir(id),
        user: users,
        network,
        ipc,
        uts: network,
        hostname: Some(config.hostname.clone()).filter(|hostname| network && !hostname.is_empty()),
        sysctls: sysctls(&config, facts, network, ipc, users),
    };
    let hostname = if config.hostname.is_empty() { &facts.host_name } else { &config.hostname };
    let shm = ipc.then(|| ShmPlan { path: facts.layout.shm(id), size_bytes: SHM_BYTES });
    let limits = match config.linux.cgroup_parent.as_str() {
        "" => of_pod(config.linux.resources.as_ref(), config.linux.overhead.as_ref()),
        // The kubelet has limited its own group.
        _ => None,
    };
    if let Some(limits) = &limits {
        check_support("config.linux.resources", limits, facts.support, facts.cgroup_mode)?;
    }
    Ok(SandboxPlan {
        pod_dir: facts.layout.pod_dir(id),
        log_directory: Some(PathBuf::from(&config.log_directory)).filter(|dir| !dir.as_os_str().is_empty()),
        hostname_file: FilePlan { path: facts.layout.hostname(id), content: format!("{hostname}\n") },
        resolv_conf: FilePlan {
            path: facts.layout.resolv_conf(id),
            content: resolv_conf(config.dns_config.as_ref(), &facts.host_resolv_conf),
        },
        hosts: (!network)
            .then(|| FilePlan { path: facts.layout.hosts(id), content: facts.host_hosts.clone() }),
        shm,
        new_pid_namespace: pid,
        pause_oom_score_adj: clamp_oom_score_adj(PAUSE_OOM_SCORE_ADJ, facts.oom_score_adj_floor),
        selinux_labels: selinux::of_pod(&facts.selinux, &config, selinux_level.as_deref()),
        pod_limits: limits,
        record: SandboxRecord {
            id: id.clone(),
            attachment: network.then(|| attachment(&config, facts, &cgroup)),
            runtime_handler: facts.runtime_handler.clone(),
            handler: facts.handler.clone(),
            runtime_path: Some(facts.runtime_path.clone()),
            kind: facts.kind,
            created_at: facts.now,
            cgroup,
            selinux_level,
            namespaces: Pinned::default(),
            network: None,
            state: State::Creating,
            entry: PodEntry::default(),
            config,
        },
        namespaces,
    })
}

fn cgroup(config: &SandboxConfig, facts: &Facts) -> PodCgroup {
    let given = config.linux.cgroup_parent.trim_matches('/');
    let parent = match given {
        "" => format!("/{}/{}", facts.cgroup_name, facts.id),
        given => format!("/{given}"),
    };
    PodCgroup { pause: format!("{parent}/{}", facts.id), parent, made: facts.missing_groups.clone() }
}

fn attachment(config: &SandboxConfig, facts: &Facts, cgroup: &PodCgroup) -> Attachment {
    Attachment {
        sandbox_id: facts.id.to_string(),
        pod_name: config.metadata.name.clone(),
        pod_namespace: config.metadata.namespace.clone(),
        pod_uid: config.metadata.uid.clone(),
        netns: facts.layout.namespaces_dir(&facts.id).join("net"),
        port_mappings: config.port_mappings.clone(),
        dns: config.dns_config.clone().unwrap_or_default(),
        annotations: config.annotations.clone(),
        cgroup_path: cgroup.parent.clone(),
        ..Attachment::default()
    }
}

/// The request's, and of the defaults those that this pod's namespaces can have.
fn sysctls(
    config: &SandboxConfig,
    facts: &Facts,
    network: bool,
    ipc: bool,
    users: Option<IdMap>,
) -> BTreeMap<String, String> {
    let fits = |name: &str| {
        let name = name.replace('/', ".");
        if name.starts_with("net.") { network } else { ipc }
    };
    let mut sysctls = facts.default_sysctls.clone();
    sysctls.retain(|name, _| fits(name));
    sysctls.extend(config.linux.sysctls.clone());
    for (name, value) in &mut sysctls {
        *value = user_namespace::sysctl_value(users, name, value);
    }
    sysctls
}

/// man 5 resolv.conf. The host's where nothing is asked for, with a `dns_config` that is empty too: so containerd has it.
fn resolv_conf(dns: Option<&DnsConfig>, of_host: &str) -> String {
    let Some(dns) = dns.filter(|dns| **dns != DnsConfig::default()) else { return of_host.to_owned() };
    let mut text = String::new();
    if !dns.searches.is_empty() {
        text += &format!("search {}\n", dns.searches.join(" "));
    }
    for server in &dns.servers {
        text += &format!("nameserver {server}\n");
    }
    if !dns.options.is_empty() {
        text += &format!("options {}\n", dns.options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests;
