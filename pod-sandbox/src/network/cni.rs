//! A CNI client: networks from a configuration directory, made by plugins.
//!
//! ```text
//! attach:  cache entry ─ ADD… ─ cache entry with result        (ADD fails: DEL of the whole list)
//! detach:  cached configuration and result ─ DEL… in reverse ─ no cache entry
//! ```

mod cache;
mod capability;
mod chain;
mod conf;
mod follow;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod gc;
mod plugin;
mod pod_ranges;
mod result;
#[cfg(test)]
mod tests;
mod turns;
mod version;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use linkspan_runtime_oci::crash_point;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout, timeout_at};

use super::locks::NamedLocks;
use super::{Attachment, Collected, Error, NetworkStatus, Readiness};
use crate::layout::Layout;
use crate::locks::lock;
use cache::{Cache, Entry};
use chain::{Chain, live_netns};
use conf::NetworkList;
use follow::{Follower, Snapshot};
use plugin::{Plugins, Subject};
use pod_ranges::PodRanges;
use turns::Turns;
use watch::DirWatch;

/// How long the start waits for a first answer.
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Longest that STATUS of all plugins may take: meanwhile a changed configuration goes unnoticed.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

/// What other engines have on the node's networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// How many attachments, by network.
    pub attachments: BTreeMap<String, usize>,
    /// Files of the caches that cannot be read.
    pub unreadable: Vec<String>,
    /// The network in use, if its plugins may be told to collect what nobody names.
    pub collected: Option<String>,
}

impl Others {
    /// Those of the files that may be about a network: its GC is left out because of them.
    pub fn unreadable_of(&self, network: &str) -> Vec<&str> {
        self.unreadable.iter().map(String::as_str).filter(|name| gc::is_of(name, network)).collect()
    }
}

/// The CNI client.
#[derive(Debug)]
pub(crate) struct Cni {
    plugins: Plugins,
    cache: Cache,
    snapshot: Receiver<Arc<Snapshot>>,
    pod_ranges: PodRanges,
    turns: Turns,
    /// The network whose plugins have been told, since the daemon's start, what is valid.
    told: Mutex<Option<String>>,
    add_timeout: Duration,
    del_timeout: Duration,
}

/// A configuration that an attachment may be made with, and the time left for it.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    list: Arc<NetworkList>,
    budget: Duration,
}

impl Cni {
    /// Reads the configuration once and follows it from then on, until this value is dropped. What it notes bears `root_dir`
    /// as its mark; the node's pod ranges are recorded there.
    pub(crate) async fn open(config: &linkspan_config::Network, root_dir: &Path) -> Result<Self, Error> {
        let watch = DirWatch::new(&config.conf_dir)
            .map_err(Error::io("watching cni configuration", &config.conf_dir))?;
        let plugins = Plugins::new(&config.bin_dirs);
        let (sender, snapshot) = tokio::sync::watch::channel(Arc::new(Snapshot::unknown()));
        let follower = Follower {
            conf_dir: config.conf_dir.clone(),
            plugins: plugins.clone(),
            budget: config.del_timeout.min(PROBE_LIMIT),
            snapshot: sender,
        };
        // A plugin that hangs in STATUS must not keep the daemon from starting.
        let _ = timeout(FIRST_LOOK, follower.look()).await;
        tokio::spawn(follower.run(watch));
        Ok(Self {
            plugins,
            cache: Cache::new(&config.cache_dir, root_dir),
            snapshot,
            pod_ranges: PodRanges::open(&Layout::state_below(root_dir)).await?,
            turns: Turns::default(),
            told: Mutex::default(),
            add_timeout: config.add_timeout,
            del_timeout: config.del_timeout,
        })
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.snapshot.borrow().readiness.clone()
    }

    pub(crate) fn verbose(&self) -> Value {
        let snapshot = self.snapshot.borrow();
        json!({
            "network": snapshot.list.as_ref().map(|list| &list.name),
            "file": snapshot.list.as_ref().map(|list| &list.source),
            "config": snapshot.list.as_ref().map(|list| list.to_json()),
            "rejected": snapshot.rejected,
        })
    }

    pub(crate) async fn set_pod_cidrs(&self, cidrs: Vec<String>) -> Result<(), Error> {
        self.pod_ranges.set(cidrs).await
    }

    /// Waits until the network is ready, at most for the time of an ADD. Cancelling is safe.
    pub(crate) async fn wait_ready(&self) -> Result<Ticket, Error> {
        let start = Instant::now();
        let deadline = start + self.add_timeout;
        let mut snapshot = self.snapshot.clone();
        let ready = snapshot.wait_for(|now| now.readiness == Readiness::Ready && now.list.is_some());
        let list = match timeout_at(deadline, ready).await {
            Ok(Ok(now)) => now.list.clone(),
            _ => None,
        };
        match list {
            Some(list) => Ok(Ticket { list, budget: deadline - Instant::now() }),
            None => {
                let message = match self.readiness() {
                    Readiness::NotReady { message, .. } => message,
                    Readiness::Ready => String::new(),
                };
                Err(Error::NotReady { waited: start.elapsed(), message })
            }
        }
    }

    /// ADD. If it fails, what was done of it is taken back.
    pub(crate) async fn attach(&self, ticket: Ticket, a: &Attachment) -> Result<NetworkStatus, Error> {
        if !conf::is_valid_name(&a.sandbox_id) {
            let message = format!("sandbox ID {:?} cannot be a cni container ID", a.sandbox_id);
            return Err(Error::BadRequest { pod: a.pod_name.clone(), message });
        }
        let mut entry = Entry::new(&ticket.list.name, &a.sandbox_id, &ticket.list.to_json());
        entry.netns = a.netns.to_string_lossy().into_owned();
        entry.cni_args = capability::cni_args(a);
        entry.capability_args = capability::arguments(a, &self.pod_ranges.get())?;
        let _turn = self.turns.of_pod().await;
        // Written first, so that a crash during ADD is followed by a DEL of this very list.
        self.cache.store(&entry).await?;
        crash_point("sandbox-attachment-noted");
        let added = self.add(&ticket, &mut entry).await;
        if added.is_err() {
            match self.del(&ticket.list, &entry, self.del_timeout).await {
                Ok(()) => self.cache.remove(&entry).await?,
                Err(error) => {
                    tracing::warn!(sandbox_id = a.sandbox_id, %error, "cni DEL after a failed ADD failed");
                }
            }
        }
        added
    }

    async fn add(&self, ticket: &Ticket, entry: &mut Entry) -> Result<NetworkStatus, Error> {
        let chain = Chain::new(&self.plugins, &ticket.list, ticket.budget);
        let result = chain.add(&subject(entry), &entry.capability_args).await?;
        crash_point("sandbox-plugins-added");
        let bad = |message: String| Error::BadConfig { path: ticket.list.source.clone(), message };
        let ips = result::addresses(&result).map_err(bad)?;
        entry.result = Some(result.clone());
        if ips.is_empty() {
            return Err(bad(format!("network {:?} gave the pod no address", ticket.list.name)));
        }
        self.cache.store(entry).await?;
        Ok(NetworkStatus { ips, network: ticket.list.name.clone(), result: Value::Object(result) })
    }

    /// DEL, with the cached configuration; without one, with the present one.
    pub(crate) async fn detach(&self, a: &Attachment) -> Result<(), Error> {
        let _turn = self.turns.of_pod().await;
        let entries = self.cache.of_container(&a.sandbox_id).await?;
        if entries.is_empty() {
            let Some(list) = self.snapshot.borrow().list.clone() else { return Ok(()) };
            let mut entry = Entry::new(&list.name, &a.sandbox_id, &Value::Null);
            entry.netns = a.netns.to_string_lossy().into_owned();
            entry.cni_args = capability::cni_args(a);
            entry.capability_args = capability::arguments(a, &[]).unwrap_or_default();
            return self.del(&list, &entry, self.del_timeout).await;
        }
        self.detach_entries(&entries).await
    }

    async fn detach_entries(&self, entries: &[Entry]) -> Result<(), Error> {
        let mut outcome = Ok(());
        for entry in entries {
            outcome = outcome.and(self.detach_entry(entry).await);
        }
        outcome
    }

    async fn detach_entry(&self, entry: &Entry) -> Result<(), Error> {
        let present = self.snapshot.borrow().list.clone();
        match (cached_list(entry), present) {
            (Ok(list), _) => self.del(&list, entry, self.del_timeout).await?,
            (Err(error), Some(list)) if list.name == entry.network_name => {
                tracing::warn!(sandbox_id = entry.container_id, %error, "cached cni configuration is unreadable");
                self.del(&list, entry, self.del_timeout).await?;
            }
            // Nothing is left to try: the pod must be removable.
            (Err(error), _) => {
                tracing::error!(sandbox_id = entry.container_id, %error, "cni DEL is given up");
            }
        }
        crash_point("sandbox-stop-plugins-deleted");
        self.cache.remove(entry).await
    }

    async fn del(&self, list: &NetworkList, entry: &Entry, budget: Duration) -> Result<(), Error> {
        let chain = Chain::new(&self.plugins, list, budget);
        chain.del(&subject(entry), &entry.capability_args, entry.result.as_ref()).await
    }

    /// CHECK, with the cached configuration and result.
    pub(crate) async fn check(&self, a: &Attachment) -> Result<(), Error> {
        let entries = self.cache.of_container(&a.sandbox_id).await?;
        let Some((entry, result)) = entries.iter().find_map(|e| Some((e, e.result.as_ref()?))) else {
            let message = "is not attached to any network".to_owned();
            return Err(Error::BadRequest { pod: a.pod_name.clone(), message });
        };
        let list = cached_list(entry)?;
        let chain = Chain::new(&self.plugins, &list, self.del_timeout);
        chain.check(&subject(entry), &entry.capability_args, result).await
    }

    /// DEL for attachments of this daemon, of whatever network, that are none of `sandboxes`' (asked for after the cache was
    /// read); then, once for each network that is in use, the verb GC, by which nothing of other engines goes. Whatever fails,
    /// the rest is done; the first error is returned.
    pub(crate) async fn gc(
        &self,
        sandboxes: impl Fn() -> BTreeSet<String> + Send + Sync,
        locks: &NamedLocks,
    ) -> Result<Collected, Error> {
        let cached = self.cache.survey().await?;
        let stale = gc::stale(&cached, &sandboxes());
        let (mut outcome, count) = (Ok(()), stale.len() as u64);
        for id in stale {
            tracing::warn!(sandbox_id = id, "cni attachment without a pod is collected");
            let _lock = locks.lock(&id).await;
            let _turn = self.turns.of_pod().await;
            // It may have been detached meanwhile.
            let entries = self.cache.of_container(&id).await?;
            outcome = outcome.and(self.detach_entries(&entries).await);
        }
        outcome?;
        let Some(list) = self.snapshot.borrow().list.clone() else {
            return Ok(Collected { count, is_all: false });
        };
        let is_told = *self.told() == Some(list.name.clone());
        if is_told || !list.has_gc() {
            return Ok(Collected { count, is_all: true });
        }
        // No pod comes or goes between this look and the end of GC.
        let told = self.turns.alone(self.tell_valid(&list, &sandboxes)).await.transpose()?;
        if told == Some(true) {
            *self.told() = Some(list.name.clone());
        }
        Ok(Collected { count, is_all: told.is_some() })
    }

    /// Whether the plugins could be told.
    async fn tell_valid(
        &self,
        list: &NetworkList,
        sandboxes: impl Fn() -> BTreeSet<String>,
    ) -> Result<bool, Error> {
        let cached = self.cache.survey().await?;
        let plan = gc::decide(cached, &sandboxes(), &list.name);
        if plan.foreign > 0 {
            tracing::info!(
                count = plan.foreign,
                "attachments of other engines in the cni cache are left alone"
            );
        }
        match plan.plugins {
            gc::Plugins::Collect(valid) => {
                Chain::new(&self.plugins, list, self.del_timeout).gc(&valid).await.map(|()| true)
            }
            gc::Plugins::Spare { unreadable } => {
                tracing::warn!(
                    network = list.name,
                    entries = ?unreadable,
                    "cni GC is left out: the cache holds entries that cannot be read, whose attachments it would take away; \
                     remove them if no engine needs them"
                );
                Ok(false)
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Option<String>> {
        lock(&self.told)
    }
}

/// Reads the caches as [`Cni::gc`] does.
pub(crate) async fn others(config: &linkspan_config::Network, root_dir: &Path) -> Result<Others, Error> {
    let cached = Cache::new(&config.cache_dir, root_dir).survey().await?;
    let list = conf::load_dir(&config.conf_dir).ok().and_then(|found| found.list);
    let mut others = Others {
        attachments: BTreeMap::new(),
        unreadable: cached.unreadable,
        collected: list.filter(NetworkList::has_gc).map(|list| list.name),
    };
    for entry in cached.foreign {
        *others.attachments.entry(entry.network_name).or_default() += 1;
    }
    Ok(others)
}

/// The list that an attachment was made with, in the version of its result.
fn cached_list(entry: &Entry) -> Result<NetworkList, Error> {
    let source = Path::new("(cached)").join(&entry.container_id);
    let bad = |message| Error::BadConfig { path: source.clone(), message };
    let mut list = NetworkList::from_list(&entry.config, &source).map_err(bad)?;
    if let Some(result) = &entry.result {
        list.version = result::version(result, list.version).map_err(bad)?;
    }
    Ok(list)
}

fn subject(entry: &Entry) -> Subject {
    let args: Vec<String> = entry.cni_args.iter().map(|[key, value]| format!("{key}={value}")).collect();
    Subject {
        container_id: entry.container_id.clone(),
        netns: live_netns(Path::new(&entry.netns)),
        args: args.join(";"),
    }
}
