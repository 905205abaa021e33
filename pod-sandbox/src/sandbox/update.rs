//! UpdatePodSandboxResources.

use std::sync::Arc;

use linkspan_runtime_oci::{Resources, spec};

use super::record::SandboxRecord;
use super::state::{Request, Verdict, admit};
use crate::error::{Error, Refusal};
use crate::model::SandboxId;
use crate::plugins::{self, What};
use crate::pods::{Inner, Pods};
use crate::resources::{merge, of_pod};
use crate::table::blocking;
use crate::{find, validate};

/// CRI `UpdatePodSandboxResourcesRequest`. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxResources {
    /// What the pod takes beside its containers.
    pub overhead: Option<Resources>,
    /// The sum of the containers' resources.
    pub resources: Option<Resources>,
}

impl Pods {
    /// Notes what the pod as a whole may use from now on; what a message leaves unset stays (CRI api.proto,
    /// UpdatePodSandboxResources). A group that we made is limited accordingly. One that the request for the sandbox
    /// named is the kubelet's, which has resized it before it calls: it is left alone. The verbose status shows the new
    /// ones. Cancel safe: it goes on.
    ///
    /// # Errors
    /// [`Error::BadConfig`] names the field; [`Error::NoSuchSandbox`], [`Error::Ambiguous`]; [`Error::Refused`] unless
    /// it is ready. If the kernel refuses a limit, nothing is changed.
    pub async fn update_sandbox_resources(&self, id: &str, wanted: SandboxResources) -> Result<(), Error> {
        let record = find::sandbox(&self.inner.table.snapshot(), id)?;
        check(&wanted)?;
        let (inner, subject) = (Arc::clone(&self.inner), record.id.clone());
        let work = Box::pin(async move {
            let _lock = record.entry.lock.exclusive().await;
            locked(&inner, &record.id, wanted).await
        });
        self.inner.detached("UpdatePodSandboxResources", subject, work).await
    }
}

fn check(wanted: &SandboxResources) -> Result<(), Error> {
    for (field, resources) in [("overhead", &wanted.overhead), ("resources", &wanted.resources)] {
        resources.as_ref().map_or(Ok(()), |resources| validate::resources(field, resources))?;
    }
    match wanted {
        SandboxResources { overhead: None, resources: None } => {
            Err(Error::bad("resources", "neither resources nor overhead are given"))
        }
        _ => Ok(()),
    }
}

async fn locked(inner: &Arc<Inner>, id: &SandboxId, wanted: SandboxResources) -> Result<(), Error> {
    let snapshot = inner.table.snapshot();
    let record = snapshot.sandboxes.get(id).ok_or_else(|| Error::NoSuchSandbox(id.to_string()))?;
    if admit(&record.state, Request::Update) != Verdict::Proceed {
        let state = record.state.for_cri();
        return Err(Error::Refused(Refusal::SandboxNotReady { id: id.to_string(), state }));
    }
    let merged = merged(record, wanted);
    check(&merged)?;
    let limits = of_pod(merged.resources.as_ref(), merged.overhead.as_ref())
        .filter(|_| record.config.linux.cgroup_parent.is_empty());
    if let Some(limits) = &limits {
        spec::check_support("resources", limits, inner.cgroups.support(), inner.cgroups.mode())?;
    }
    let SandboxResources { overhead, resources } = merged.clone();
    plugins::pod_is_asked(inner, record, What::UpdatePodSandbox { overhead, resources }).await?;
    if let Some(limits) = limits {
        let (cgroups, group) = (inner.cgroups.clone(), record.cgroup.parent.clone());
        blocking("limiting a pod", move || Ok(cgroups.apply(&group, &limits)?)).await?;
    }
    let change = move |record: &SandboxRecord| {
        let mut changed = record.clone();
        changed.config.linux.overhead = merged.overhead;
        changed.config.linux.resources = merged.resources;
        Some(changed)
    };
    let updated = inner.table.update::<SandboxRecord>(id, change).await?;
    tracing::info!(sandbox_id = %id, "sandbox resources updated");
    if let Some(record) = updated {
        plugins::happened(inner, &record, What::PostUpdatePodSandbox).await;
    }
    Ok(())
}

fn merged(record: &SandboxRecord, wanted: SandboxResources) -> SandboxResources {
    let linux = &record.config.linux;
    let merged = |current: &Option<Resources>, wanted: Option<Resources>| match (current, wanted) {
        (Some(current), Some(wanted)) => Some(merge(current, &wanted)),
        (current, wanted) => wanted.or_else(|| current.clone()),
    };
    SandboxResources {
        overhead: merged(&linux.overhead, wanted.overhead),
        resources: merged(&linux.resources, wanted.resources),
    }
}
