//! What a List is narrowed to. No filter is a filter that lets everything through.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::model::{
    ContainerFilter, ContainerState, ContainerStatsFilter, SandboxFilter, SandboxState, SandboxStatsFilter,
};

use super::field::{BadField, known};

pub(crate) fn sandboxes(wire: Option<v1::PodSandboxFilter>) -> Result<SandboxFilter, BadField> {
    let wire = wire.unwrap_or_default();
    let state = |number| {
        Ok(match known(number, "filter.state.state")? {
            v1::PodSandboxState::SandboxReady => SandboxState::Ready,
            v1::PodSandboxState::SandboxNotready => SandboxState::NotReady,
        })
    };
    Ok(SandboxFilter {
        id: wire.id,
        state: wire.state.map(|value| state(value.state)).transpose()?,
        label_selector: wire.label_selector,
    })
}

pub(crate) fn containers(wire: Option<v1::ContainerFilter>) -> Result<ContainerFilter, BadField> {
    let wire = wire.unwrap_or_default();
    let state = |number| {
        Ok(match known(number, "filter.state.state")? {
            v1::ContainerState::ContainerCreated => ContainerState::Created,
            v1::ContainerState::ContainerRunning => ContainerState::Running,
            v1::ContainerState::ContainerExited => ContainerState::Exited,
            v1::ContainerState::ContainerUnknown => ContainerState::Unknown,
        })
    };
    Ok(ContainerFilter {
        id: wire.id,
        state: wire.state.map(|value| state(value.state)).transpose()?,
        sandbox_id: wire.pod_sandbox_id,
        label_selector: wire.label_selector,
    })
}

pub(crate) fn sandbox_stats(wire: Option<v1::PodSandboxStatsFilter>) -> SandboxStatsFilter {
    let wire = wire.unwrap_or_default();
    SandboxStatsFilter { id: wire.id, label_selector: wire.label_selector }
}

pub(crate) fn container_stats(wire: Option<v1::ContainerStatsFilter>) -> ContainerStatsFilter {
    let wire = wire.unwrap_or_default();
    ContainerStatsFilter { id: wire.id, sandbox_id: wire.pod_sandbox_id, label_selector: wire.label_selector }
}
