//! What the daemon says of its pods and containers, and what the kernel and the disk say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::leftovers;
use linkspan_tests::node::Node;

use crate::foreign;
use crate::model::{Exit, SeenContainer, SeenPod};
use crate::processes;
use crate::weather::{Answered, Weather};

/// What makes a listed one known to whoever asked for it: of a container, its sandbox too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) sandbox: Option<String>,
    pub(crate) name: String,
    pub(crate) attempt: u32,
}

/// All at one moment, as far as that can be had.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pods: BTreeMap<String, (Name, SeenPod)>,
    pub(crate) containers: BTreeMap<String, (Name, SeenContainer)>,
    /// What bears an ID on the host: the ID, and what it is.
    traces: Vec<(String, String)>,
}

pub(crate) async fn look(node: &Node, weather: &Weather) -> Result<Seen> {
    let groups = processes::by_group(node.cgroup())?;
    let alive = |id: &str| groups.get(id).map_or(0, BTreeMap::len);
    let mut seen = Seen { traces: traces(node), ..Seen::default() };
    let monitors = processes::monitors(node.prefix());
    seen.traces.extend(monitors.keys().map(|id| (id.clone(), "its monitor".to_owned())));
    for (id, pids) in groups.iter().filter(|(id, pids)| is_id(id) && !pids.is_empty()) {
        seen.traces.push((id.clone(), format!("processes {:?} in its control group", pids.keys())));
    }
    let listing = weather
        .call("ListPodSandbox", async |mut runtime| {
            runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await
        })
        .await?;
    for sandbox in succeeded(listing, "ListPodSandbox")?.items {
        let metadata = sandbox.metadata.clone().unwrap_or_default();
        let name = Name { sandbox: None, name: metadata.name, attempt: metadata.attempt };
        let status = weather
            .call("PodSandboxStatus", async |mut runtime| {
                let pod_sandbox_id = sandbox.id.clone();
                let request = v1::PodSandboxStatusRequest { pod_sandbox_id, verbose: false };
                runtime.pod_sandbox_status(request).await
            })
            .await?;
        let status = succeeded(status, "PodSandboxStatus")?.status.unwrap_or_default();
        let pod = SeenPod {
            ready: status.state() == v1::PodSandboxState::SandboxReady,
            has_address: status.network.is_some_and(|network| !network.ip.is_empty()),
            monitor: monitors.contains_key(&sandbox.id),
            pause: alive(&sandbox.id),
            held: seen.held(&sandbox.id),
        };
        seen.pods.insert(sandbox.id, (name, pod));
    }
    let listing = weather
        .call("ListContainers", async |mut runtime| {
            runtime.list_containers(v1::ListContainersRequest::default()).await
        })
        .await?;
    for container in succeeded(listing, "ListContainers")?.containers {
        let metadata = container.metadata.clone().unwrap_or_default();
        let name = Name {
            sandbox: Some(container.pod_sandbox_id.clone()),
            name: metadata.name,
            attempt: metadata.attempt,
        };
        let status = weather.container_status(&container.id).await?;
        let status = succeeded(status, "ContainerStatus")?.status.unwrap_or_default();
        ensure!(
            status.state() == container.state(),
            "ListContainers and ContainerStatus differ on {}",
            container.id
        );
        let seen_container = SeenContainer {
            state: status.state(),
            started_at: status.started_at,
            processes: alive(&container.id),
            exit: Exit { code: status.exit_code, finished_at: status.finished_at, message: status.message },
        };
        seen.containers.insert(container.id, (name, seen_container));
    }
    Ok(seen)
}

fn succeeded<T>(answered: Answered<T>, what: &str) -> Result<T> {
    answered.must_succeed(what)?;
    Ok(answered.result?)
}

impl Seen {
    /// Pins and addresses of a pod.
    fn held(&self, id: &str) -> Vec<String> {
        let of_pod = self.traces.iter().filter(|(owner, _)| owner == id);
        of_pod.map(|(_, what)| what).filter(|what| is_held(what)).cloned().collect()
    }

    /// What is there of nobody who is listed.
    pub(crate) fn orphans(&self) -> Vec<String> {
        let listed = |id: &String| self.pods.contains_key(id) || self.containers.contains_key(id);
        let orphans = self
            .traces
            .iter()
            .filter(|(id, what)| !listed(id) && *id != foreign::id() && !self.goes_with_its_pod(what));
        orphans.map(|(id, what)| format!("{id} is not listed, and there is {what}")).collect()
    }

    /// An exit record of a pod that has no monitor any more, which would have removed it.
    fn goes_with_its_pod(&self, what: &str) -> bool {
        let pod = ids_in(what).next().and_then(|pod| self.pods.get(&pod));
        what.contains(EXITS) && pod.is_some_and(|(_, pod)| !pod.ready)
    }

    pub(crate) fn ids(&self) -> BTreeSet<&str> {
        self.pods.keys().chain(self.containers.keys()).map(String::as_str).collect()
    }
}

const ADDRESS: &str = "its address";
const EXITS: &str = "/exits/";
const PIN: &str = "a mount at";

fn is_held(what: &str) -> bool {
    what.starts_with(ADDRESS) || (what.starts_with(PIN) && what.contains("/ns/"))
}

fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The folders whose entries bear IDs, and those that are one level down, below entries that do.
fn traces(node: &Node) -> Vec<(String, String)> {
    let prefix = node.prefix();
    let (run, var) = (prefix.join("run/linkspan"), prefix.join("var/lib/linkspan"));
    let mut folders = vec![run.join("pods"), var.join("state/sandboxes"), var.join("state/containers")];
    folders.extend([var.join("volumes"), var.join("checkpoints"), var.join("images/rootfs")]);
    folders.push(prefix.join("var/lib/cni/results"));
    folders.extend(entries(&run.join("runtimes")));
    for pod in entries(&run.join("pods")) {
        folders.extend([pod.join("containers"), pod.join("exits")]);
    }
    let mut found = Vec::new();
    for path in folders.iter().flat_map(|folder| entries(folder)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        found.extend(ids_in(&name).map(|id| (id, path.display().to_string())));
    }
    for point in leftovers::mounts(prefix) {
        // The innermost that it is about.
        if let Some(id) = ids_in(&point).last() {
            found.push((id, format!("{PIN} {point}")));
        }
    }
    for address in node.network.addresses().unwrap_or_default() {
        let holder = fs::read_to_string(node.network.reservation(&address)).unwrap_or_default();
        found.extend(ids_in(&holder).map(|id| (id, format!("{ADDRESS} {address}"))));
    }
    found
}

fn ids_in(text: &str) -> impl Iterator<Item = String> + use<'_> {
    text.split(|letter: char| !letter.is_ascii_hexdigit()).filter(|part| is_id(part)).map(str::to_owned)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
