//! Annotations of the OCI spec: hooks, sandboxed runtimes and tools read them.

use crate::container::create::facts::Facts;
use crate::container::record::ContainerRecord;
use crate::model::StringMap;
use crate::sandbox::record::SandboxRecord;

/// The handler's annotations, the pod's, the container's, and who they are.
pub(super) fn decide(record: &ContainerRecord, sandbox: &SandboxRecord, facts: &Facts) -> StringMap {
    let mut asked = sandbox.config.annotations.clone();
    asked.extend(record.config.annotations.clone());
    let mut annotations = facts.handler.annotations(asked, &facts.features);
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
    annotations.extend(crate::sandbox::annotations::of_container(record, sandbox));
    annotations
}
