//! What a List is narrowed to. All given conditions must hold; IDs may be prefixes.

use super::{ContainerState, SandboxState, StringMap};

/// CRI `PodSandboxFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxFilter {
    /// Empty: any.
    pub id: String,
    pub state: Option<SandboxState>,
    pub label_selector: StringMap,
}

/// CRI `ContainerFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFilter {
    pub id: String,
    pub state: Option<ContainerState>,
    pub sandbox_id: String,
    pub label_selector: StringMap,
}

/// CRI `PodSandboxStatsFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxStatsFilter {
    pub id: String,
    pub label_selector: StringMap,
}

/// CRI `ContainerStatsFilter`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStatsFilter {
    pub id: String,
    pub sandbox_id: String,
    pub label_selector: StringMap,
}

/// Whether `labels` has all that `selector` asks for.
pub(crate) fn labels_match(selector: &StringMap, labels: &StringMap) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}
