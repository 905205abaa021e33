//! RestorePod's messages.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::{RestoreRequest, Restored};

use super::field::{BadField, Inside, each, required};
use super::{container, sandbox};

pub(crate) fn restore(request: v1::RestorePodRequest) -> Result<RestoreRequest, BadField> {
    Ok(RestoreRequest {
        checkpoint_path: request.checkpoint_path,
        config: sandbox::config(required(request.config, "config")?).inside("config")?,
        runtime_handler: request.runtime_handler,
        options: request.options,
        container_configs: each(request.container_configs, "container_configs", container::config)?,
    })
}

pub(crate) fn restored(restored: Restored) -> v1::RestorePodResponse {
    let container = |(name, id): (String, linkspan_pod_sandbox::model::ContainerId)| v1::RestoredContainer {
        name,
        container_id: id.into(),
    };
    v1::RestorePodResponse {
        pod_sandbox_id: restored.sandbox.into(),
        restored_containers: restored.containers.into_iter().map(container).collect(),
    }
}
