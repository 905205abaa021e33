//! Annotations of the OCI spec: hooks, sandboxed runtimes and tools read them.

use crate::container::record::ContainerRecord;
use crate::model::StringMap;
use crate::sandbox::record::SandboxRecord;

/// Annotations by which a runtime is steered around what the pod was granted. A pod's author may write annotations;
/// only the node's administrator may steer its runtimes.
const STEERING: [&str; 2] = ["run.oci.", "org.systemd.property."];

/// The pod's annotations, the container's, and who they are.
pub(super) fn decide(record: &ContainerRecord, sandbox: &SandboxRecord) -> StringMap {
    let mut annotations = sandbox.config.annotations.clone();
    annotations.extend(record.config.annotations.clone());
    annotations.retain(|key, _| !STEERING.iter().any(|prefix| key.starts_with(prefix)));
    let pod = &sandbox.config.metadata;
    let own = [
        ("container-type", "container".to_owned()),
        ("container-name", record.config.metadata.name.clone()),
        ("image-name", record.config.image.image.clone()),
        ("sandbox-id", sandbox.id.to_string()),
        ("sandbox-name", pod.name.clone()),
        ("sandbox-namespace", pod.namespace.clone()),
        ("sandbox-uid", pod.uid.clone()),
        ("sandbox-log-directory", sandbox.config.log_directory.clone()),
    ];
    annotations.extend(own.map(|(key, value)| (format!("io.kubernetes.cri.{key}"), value)));
    annotations
}
