//! What happened to a sandbox or container.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::{Event, EventKind};

use super::{container, sandbox};

/// The pod's statuses are those right after the event: the kubelet takes them instead of asking.
pub(crate) fn event(model: Event) -> v1::ContainerEventResponse {
    let (pod, containers) = (model.sandbox(), model.containers());
    v1::ContainerEventResponse {
        container_id: model.id,
        container_event_type: kind(model.kind).into(),
        created_at: model.at.0,
        pod_sandbox_status: Some(sandbox::status(pod)),
        containers_statuses: containers.into_iter().map(container::status).collect(),
    }
}

fn kind(model: EventKind) -> v1::ContainerEventType {
    match model {
        EventKind::Created => v1::ContainerEventType::ContainerCreatedEvent,
        EventKind::Started => v1::ContainerEventType::ContainerStartedEvent,
        EventKind::Stopped => v1::ContainerEventType::ContainerStoppedEvent,
        EventKind::Deleted => v1::ContainerEventType::ContainerDeletedEvent,
    }
}
