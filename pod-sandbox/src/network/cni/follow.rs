//! Following the configuration directory and the plugins' STATUS, so that nobody who asks for
//! readiness waits for a file or a plugin.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Sender;
use tokio::time::timeout;

use super::super::{Error, Readiness};
use super::chain::Chain;
use super::conf::{self, NetworkList};
use super::plugin::Plugins;
use super::version::Version;
use super::watch::DirWatch;

/// Between looks at plugins that are well. It also finds changes that inotify cannot see (a
/// directory behind a link that is moved, a network file system).
const CALM: Duration = Duration::from_secs(15);
/// Between looks while the network is not ready: plugins are installed by a pod of their own.
const EAGER: Duration = Duration::from_secs(1);

/// The state of the network as last seen.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) list: Option<Arc<NetworkList>>,
    pub(crate) readiness: Readiness,
    /// Files that were passed over, and why.
    pub(crate) rejected: Vec<String>,
}

/// Keeps a snapshot up to date.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) conf_dir: PathBuf,
    pub(crate) plugins: Plugins,
    /// For STATUS and VERSION of all plugins together.
    pub(crate) budget: Duration,
    pub(crate) snapshot: Sender<Arc<Snapshot>>,
}

impl Snapshot {
    pub(crate) fn unknown() -> Self {
        Self {
            list: None,
            readiness: Readiness::not_ready("cni plugin not initialized"),
            rejected: Vec::new(),
        }
    }
}

impl Follower {
    /// Runs until the last receiver of the snapshot is gone.
    pub(crate) async fn run(self, mut watch: DirWatch) {
        loop {
            let extra = self.snapshot.borrow().list.as_ref().map(|list| self.conf_dir.join(&list.name));
            if let Err(error) = watch.rearm(extra.as_deref()) {
                tracing::warn!(dir = %self.conf_dir.display(), %error, "cannot watch cni configuration");
            }
            self.look().await;
            let ready = self.snapshot.borrow().readiness == Readiness::Ready;
            let pause = if ready { CALM } else { EAGER };
            tokio::select! {
                () = self.snapshot.closed() => return,
                changed = timeout(pause, watch.changed()) => {
                    if let Ok(Err(error)) = changed {
                        tracing::warn!(dir = %self.conf_dir.display(), %error, "watching cni configuration");
                        tokio::time::sleep(EAGER).await;
                    }
                }
            }
        }
    }

    /// Reads the directory, asks the plugins, and publishes what has changed.
    pub(crate) async fn look(&self) {
        let dir = self.conf_dir.clone();
        let loaded = tokio::task::spawn_blocking(move || conf::load_dir(&dir)).await;
        let found = match loaded {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                let unreadable = Readiness::not_ready(error.to_string());
                return self.publish(Snapshot { list: None, readiness: unreadable, rejected: Vec::new() });
            }
            Err(_) => return,
        };
        let rejected: Vec<String> = found.rejected.iter().map(Error::to_string).collect();
        let Some(list) = found.list else {
            let mut message = format!("no cni configuration in {}", self.conf_dir.display());
            if !rejected.is_empty() {
                message = format!("{message}: {}", rejected.join("; "));
            }
            return self.publish(Snapshot { list: None, readiness: Readiness::not_ready(message), rejected });
        };
        let (list, readiness) = self.probe(list).await;
        self.publish(Snapshot { list: Some(Arc::new(list)), readiness, rejected });
    }

    async fn probe(&self, mut list: NetworkList) -> (NetworkList, Readiness) {
        if let Some(version) = self.settled_version(&list) {
            list.version = version;
        } else {
            match Chain::new(&self.plugins, &list, self.budget).negotiate().await {
                Ok(version) => list.version = version,
                Err(error) => return (list, Readiness::not_ready(error.to_string())),
            }
        }
        match Chain::new(&self.plugins, &list, self.budget).status().await {
            Ok(()) => (list, Readiness::Ready),
            Err(error) => (list, Readiness::not_ready(error.to_string())),
        }
    }

    /// The version that was agreed on for this very list, as long as all is well with it.
    fn settled_version(&self, list: &NetworkList) -> Option<Version> {
        let now = self.snapshot.borrow().clone();
        let settled = now.list.as_ref().filter(|_| now.readiness == Readiness::Ready)?;
        let same = NetworkList { version: settled.version, ..list.clone() } == **settled;
        same.then_some(settled.version)
    }

    fn publish(&self, new: Snapshot) {
        self.snapshot.send_if_modified(|old| {
            for message in new.rejected.iter().filter(|message| !old.rejected.contains(message)) {
                tracing::warn!(message, "cni configuration passed over");
            }
            if old.readiness != new.readiness {
                match &new.readiness {
                    Readiness::Ready => tracing::info!("network is ready"),
                    Readiness::NotReady { message, .. } => tracing::warn!(message, "network is not ready"),
                }
            }
            let same = old.list == new.list && old.readiness == new.readiness && old.rejected == new.rejected;
            if !same {
                *old = Arc::new(new);
            }
            !same
        });
    }
}
