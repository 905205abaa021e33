//! What nobody owns: looked for again and again, in the background, and removed.
//!
//! ```text
//! survey of the host ─▶ what has a record (asked for after it) ─▶ the rest, if it is still there ─▶ removed, and counted
//! ```
//! All that a pod or a container holds it gets after its record is written, and it lets go of it before the record goes. So
//! this may run beside everything else; and what it finds is what a fault of ours, or somebody's hand, has left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use linkspan_runtime_oci::Monitor;

use crate::error::Error;
use crate::locks::lock;
use crate::model::id::is_id;
use crate::mounts;
use crate::namespaces;
use crate::network::Collected;
use crate::own_cgroups;
use crate::own_files::names;
use crate::pods::{Inner, Pods};
use crate::table::{Ids, blocking};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(300);
/// After one that could not remove all it found, or could not ask the network; twice as long after each further one.
const SOON: Duration = Duration::from_secs(10);
const ADDRESS: &str = "address";

/// How much was collected since the daemon's start, by what it was.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<BTreeMap<&'static str, u64>>);

/// Something on the host that bears a pod's or container's ID, in the order of removal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    PodDirectory {
        sandbox: String,
    },
    /// With kind `oci` a sandbox is a container of its runtime.
    OfRuntime {
        handler: String,
        id: String,
    },
    Bundle {
        sandbox: String,
        container: String,
    },
    Volumes {
        container: String,
    },
    RootFs {
        container: String,
    },
    Cgroup {
        sandbox: String,
    },
}

impl Pods {
    /// How many things that nobody owned were collected since the daemon's start, by what they were.
    #[must_use]
    pub fn collected(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.inner.collected.0).clone()
    }
}

impl Counts {
    fn add(&self, what: &'static str, count: u64) {
        if count > 0 {
            *lock(&self.0).entry(what).or_default() += count;
        }
    }
}

/// From the daemon's start to its end.
pub(crate) fn keep_going(inner: &Arc<Inner>) {
    let task_inner = Arc::clone(inner);
    inner.tasks.spawn(async move {
        let inner = task_inner;
        let collecting = async {
            let mut soon = SOON;
            loop {
                let (network, rest) = (addresses(&inner).await, rest(&inner).await);
                let is_all = network && rest;
                tokio::time::sleep(if is_all { PERIOD } else { soon }).await;
                soon = if is_all { SOON } else { (soon * 2).min(PERIOD) };
            }
        };
        inner.closing.run_until_cancelled(collecting).await;
    });
}

/// Before the pods' namespaces go: without them plugins do not find all that they have made.
async fn addresses(inner: &Arc<Inner>) -> bool {
    let table = Arc::clone(&inner.table);
    match inner.network.gc(move || table.known().sandboxes).await {
        Ok(Collected { count, is_all }) => {
            inner.collected.add(ADDRESS, count);
            is_all
        }
        Err(error) => {
            tracing::warn!(%error, "addresses that nobody owns may not all be freed");
            false
        }
    }
}

/// Whether nothing that nobody owns is left.
async fn rest(inner: &Arc<Inner>) -> bool {
    let found = survey(inner).await;
    let known = inner.table.known();
    let mut orphans: BTreeSet<Thing> = found.into_iter().filter(|thing| !thing.is_known(&known)).collect();
    if !orphans.is_empty() {
        // Its owner may have removed it meanwhile, and then gone itself.
        let now = survey(inner).await;
        orphans.retain(|thing| now.contains(thing));
    }
    let mut all = true;
    for thing in &orphans {
        if let Thing::Cgroup { sandbox } = thing
            && !is_ours(inner, &orphans, sandbox)
        {
            tracing::debug!(sandbox_id = sandbox, "a control group of another daemon's pod is left alone");
            continue;
        }
        match thing.remove(inner).await {
            Ok(()) => {
                tracing::warn!(what = thing.name(), id = thing.id(), "collected what nobody owned");
                inner.collected.add(thing.name(), 1);
            }
            Err(error) => {
                all = false;
                tracing::error!(what = thing.name(), id = thing.id(), %error, "could not collect what nobody owns");
            }
        }
    }
    all
}

/// Another daemon may have been given the same name for its groups: ours are those that bear our mark, and those of pods that had
/// a directory here.
fn is_ours(inner: &Inner, orphans: &BTreeSet<Thing>, sandbox: &str) -> bool {
    orphans.contains(&Thing::PodDirectory { sandbox: sandbox.to_owned() })
        || own_cgroups::is_marked(inner, &inner.pod_cgroup(sandbox))
}

async fn survey(inner: &Arc<Inner>) -> BTreeSet<Thing> {
    let surveyed = Arc::clone(inner);
    let look = blocking("looking for what nobody owns", move || Ok(look(&surveyed)));
    // Fails at the daemon's end only.
    look.await.unwrap_or_default()
}

fn look(inner: &Inner) -> BTreeSet<Thing> {
    let mut found = BTreeSet::new();
    for sandbox in ids(&inner.layout.pods_dir()) {
        let bundles = inner.layout.pods_dir().join(&sandbox).join("containers");
        found.extend(ids(&bundles).map(|container| Thing::Bundle { sandbox: sandbox.clone(), container }));
        found.insert(Thing::PodDirectory { sandbox });
    }
    for handler in names(&inner.layout.runtimes_dir()) {
        // gVisor's files bear more than the ID in their names.
        let names = names(&inner.layout.runtime_root(&handler));
        let ids =
            names.map(|name| name.split('_').next().unwrap_or_default().to_owned()).filter(|id| is_id(id));
        found.extend(ids.map(|id| Thing::OfRuntime { handler: handler.clone(), id }));
    }
    found.extend(ids(&inner.layout.volumes_dir()).map(|container| Thing::Volumes { container }));
    let keys = inner.images.rootfs_keys().unwrap_or_else(|error| {
        tracing::warn!(%error, "root file systems that nobody owns are not collected");
        Vec::new()
    });
    found.extend(keys.into_iter().map(|container| Thing::RootFs { container }));
    // What is below the kubelet's groups goes with them.
    let groups = inner.cgroups.children(&own_cgroups::top(inner)).unwrap_or_default();
    let groups = groups.into_iter().filter(|id| is_id(id));
    found.extend(groups.map(|sandbox| Thing::Cgroup { sandbox }));
    found
}

fn ids(dir: &Path) -> impl Iterator<Item = String> + use<> {
    names(dir).filter(|name| is_id(name))
}

impl Thing {
    fn name(&self) -> &'static str {
        match self {
            Self::PodDirectory { .. } => "pod directory",
            Self::OfRuntime { .. } => "runtime's container",
            Self::Bundle { .. } => "bundle",
            Self::Volumes { .. } => "volumes",
            Self::RootFs { .. } => "root file system",
            Self::Cgroup { .. } => "cgroup",
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::PodDirectory { sandbox } | Self::Cgroup { sandbox } => sandbox,
            Self::Bundle { container, .. } | Self::Volumes { container } | Self::RootFs { container } => {
                container
            }
            Self::OfRuntime { id, .. } => id,
        }
    }

    fn is_known(&self, known: &Ids) -> bool {
        match self {
            Self::PodDirectory { sandbox } | Self::Cgroup { sandbox } => known.sandboxes.contains(sandbox),
            Self::OfRuntime { id, .. } => known.sandboxes.contains(id) || known.containers.contains(id),
            // With its pod's directory, otherwise.
            Self::Bundle { sandbox, container } => {
                !known.sandboxes.contains(sandbox) || known.containers.contains(container)
            }
            Self::Volumes { container } | Self::RootFs { container } => known.containers.contains(container),
        }
    }

    async fn remove(&self, inner: &Inner) -> Result<(), Error> {
        let layout = &inner.layout;
        match self {
            Self::PodDirectory { sandbox } => pod(&layout.pods_dir().join(sandbox)).await,
            Self::OfRuntime { handler, id } => inner.delete_from_runtime(handler, id, None).await,
            Self::Bundle { sandbox, container } => {
                remove_tree(&layout.pods_dir().join(sandbox).join("containers").join(container)).await
            }
            Self::Volumes { container } => remove_tree(&layout.volumes_dir().join(container)).await,
            Self::RootFs { container } => Ok(inner.images.remove_rootfs(container).await?),
            Self::Cgroup { sandbox } => {
                let path = inner.pod_cgroup(sandbox);
                inner.cgroups.kill_all(&path).await?;
                Ok(inner.cgroups.remove(&path).await?)
            }
        }
    }
}

async fn pod(dir: &Path) -> Result<(), Error> {
    if let Ok(monitor) = Monitor::connect(dir).await {
        monitor.shutdown().await?;
    }
    namespaces::unpin(&dir.join("ns")).await?;
    remove_tree(dir).await
}

async fn remove_tree(dir: &Path) -> Result<(), Error> {
    let dir = dir.to_owned();
    blocking("removing what nobody owns", move || mounts::remove_tree(&dir)).await
}

#[cfg(test)]
mod tests {
    use super::{Ids, Thing};

    #[test]
    fn what_has_a_record_is_somebodys() {
        let set = |id: &str| [id.to_owned()].into();
        let known = Ids { sandboxes: set("s"), containers: set("c") };
        let text = str::to_owned;
        let of_pod = |sandbox: &str| {
            [Thing::PodDirectory { sandbox: text(sandbox) }, Thing::Cgroup { sandbox: text(sandbox) }]
        };
        assert!(of_pod("s").iter().all(|thing| thing.is_known(&known)));
        assert!(!of_pod("x").iter().any(|thing| thing.is_known(&known)));
        let of_runtime = |id: &str| Thing::OfRuntime { handler: text("crun"), id: text(id) };
        assert!(of_runtime("s").is_known(&known) && of_runtime("c").is_known(&known));
        assert!(!of_runtime("x").is_known(&known));
        let bundle = |sandbox: &str, container: &str| Thing::Bundle {
            sandbox: text(sandbox),
            container: text(container),
        };
        assert!(bundle("s", "c").is_known(&known));
        assert!(!bundle("s", "x").is_known(&known));
        assert!(
            bundle("x", "x").is_known(&known),
            "it goes with its pod's directory, whose monitor is ended first"
        );
        for thing in [Thing::Volumes { container: text("x") }, Thing::RootFs { container: text("x") }] {
            assert!(!thing.is_known(&known));
        }
    }
}
