//! By which annotations a sandboxed runtime (gVisor, Kata Containers) knows which container is the sandbox itself, and
//! which are to run inside it: containerd's words for it and CRI-O's, since runtimes read either. Pure.

use linkspan_config::SandboxKind;
use linkspan_runtime_oci::Features;
use serde_json::json;

use super::record::SandboxRecord;
use crate::container::record::ContainerRecord;
use crate::handler::HandlerOptions;
use crate::model::{Resources, StringMap};

/// containerd, `internal/cri/annotations`.
const CONTAINERD: &str = "io.kubernetes.cri.";
/// CRI-O, `pkg/annotations`.
const CRI_O: &str = "io.kubernetes.cri-o.";

/// Of the container that is the sandbox.
pub(super) fn of_sandbox(record: &SandboxRecord, handler: &HandlerOptions, runtime: &Features) -> StringMap {
    let pod = &record.config.metadata;
    let id = record.id.to_string();
    let mut annotations = handler.annotations(record.config.annotations.clone(), runtime);
    let containerd = [
        ("container-type", "sandbox".to_owned()),
        ("sandbox-id", id.clone()),
        ("sandbox-name", pod.name.clone()),
        ("sandbox-namespace", pod.namespace.clone()),
        ("sandbox-uid", pod.uid.clone()),
        ("sandbox-log-directory", record.config.log_directory.clone()),
    ];
    let size = record.config.linux.resources.as_ref().map(size).unwrap_or_default();
    let name = format!("k8s_POD_{}_{}_{}_{}", pod.name, pod.namespace, pod.uid, pod.attempt);
    let cri_o = [
        ("ContainerType", "sandbox".to_owned()),
        ("ContainerID", id),
        ("ContainerName", name),
        ("Created", record.created_at.to_rfc3339()),
        ("LogPath", record.config.log_directory.clone()),
        ("PrivilegedRuntime", record.config.linux.security_context.privileged.to_string()),
    ];
    annotations.extend(containerd.map(|(key, value)| (format!("{CONTAINERD}{key}"), value)));
    annotations.extend(size.into_iter().map(|(key, value)| (format!("{CONTAINERD}{key}"), value)));
    annotations.extend(cri_o.map(|(key, value)| (format!("{CRI_O}{key}"), value)));
    annotations.extend(of_pod(record));
    annotations
}

/// Of a container, beyond those that it has with every kind of sandbox.
pub(crate) fn of_container(record: &ContainerRecord, sandbox: &SandboxRecord) -> StringMap {
    match sandbox.kind {
        SandboxKind::Native => StringMap::new(),
        SandboxKind::Oci => cri_o_of_container(record, sandbox),
    }
}

/// How CRI-O describes a container.
pub(crate) fn cri_o_of_container(record: &ContainerRecord, sandbox: &SandboxRecord) -> StringMap {
    let (pod, own) = (&sandbox.config.metadata, &record.config.metadata);
    let name = format!("k8s_{}_{}_{}_{}_{}", own.name, pod.name, pod.namespace, pod.uid, own.attempt);
    let cri_o = [
        ("ContainerType", "container".to_owned()),
        ("ContainerID", record.id.to_string()),
        ("ContainerName", name.clone()),
        ("Name", name),
        ("Created", record.created_at.to_rfc3339()),
        ("ImageName", record.config.image.image.clone()),
        ("ImageRef", record.image_ref.clone()),
        ("LogPath", record.log_path.clone()),
        ("Metadata", json!({ "name": own.name, "attempt": own.attempt }).to_string()),
        ("Labels", json!(record.config.labels).to_string()),
        ("Annotations", json!(record.config.annotations).to_string()),
        ("TTY", record.config.tty.to_string()),
        ("PrivilegedRuntime", record.config.linux.security_context.privileged.to_string()),
    ];
    let mut annotations = of_pod(sandbox);
    annotations.extend(cri_o.map(|(key, value)| (format!("{CRI_O}{key}"), value)));
    annotations
}

fn of_pod(record: &SandboxRecord) -> StringMap {
    let pod = &record.config.metadata;
    let cri_o = [
        ("SandboxID", record.id.to_string()),
        ("SandboxName", format!("k8s_{}_{}_{}_{}", pod.name, pod.namespace, pod.uid, pod.attempt)),
        ("KubeName", pod.name.clone()),
        ("Namespace", pod.namespace.clone()),
        ("HostName", record.config.hostname.clone()),
        ("RuntimeHandler", record.runtime_handler.clone()),
    ];
    cri_o.into_iter().map(|(key, value)| (format!("{CRI_O}{key}"), value)).collect()
}

/// For runtimes that must size a virtual machine beforehand.
fn size(resources: &Resources) -> Vec<(&'static str, String)> {
    vec![
        ("sandbox-cpu-period", resources.cpu_period.to_string()),
        ("sandbox-cpu-quota", resources.cpu_quota.to_string()),
        ("sandbox-cpu-shares", resources.cpu_shares.to_string()),
        ("sandbox-memory", resources.memory_limit_bytes.to_string()),
    ]
}
