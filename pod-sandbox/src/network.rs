//! A pod's network: CNI plugins, or the built-in bridge.

mod attachment;
mod bandwidth;
mod builtin;
mod cni;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod locks;
pub(crate) mod netlink;
#[cfg(test)]
mod testbed;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

pub use attachment::{Attachment, DnsConfig, INTERFACE, NetworkStatus, PortMapping, Protocol, Readiness};
pub use cni::Others;
pub use error::Error;

use builtin::Builtin;
use cni::Cni;
use locks::NamedLocks;

/// The network of the node's pods. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    backend: Backend,
    locks: NamedLocks,
}

#[derive(Debug)]
enum Backend {
    Builtin(Builtin),
    Cni(Box<Cni>),
}

/// What came of looking for what nobody owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// So many attachments.
    pub count: u64,
    /// `false`: something is still to be asked, and was in nobody's turn.
    pub is_all: bool,
}

/// Leave to attach a pod.
#[derive(Debug)]
enum Ticket {
    Builtin,
    Cni(cni::Ticket),
}

impl Network {
    /// Starts to follow the configuration. `root_dir` is the daemon's: the mark by which it tells its attachments from those of
    /// other engines on the node. Must be called inside a tokio runtime.
    pub async fn open_for(config: &linkspan_config::Network, root_dir: &Path) -> Result<Self, Error> {
        let backend = if config.builtin {
            Backend::Builtin(Builtin::open(config).await?)
        } else {
            Backend::Cni(Box::new(Cni::open(config, root_dir).await?))
        };
        Ok(Self { inner: Arc::new(Inner { backend, locks: NamedLocks::default() }) })
    }

    /// What other engines have on the node's CNI networks, as far as the caches tell. Changes nothing. `root_dir` as for
    /// [`Network::open_for`].
    pub async fn others(config: &linkspan_config::Network, root_dir: &Path) -> Result<Others, Error> {
        if config.builtin { Ok(Others::default()) } else { cni::others(config, root_dir).await }
    }

    /// CRI condition `NetworkReady`: a snapshot, never waits.
    pub fn readiness(&self) -> Readiness {
        match &self.inner.backend {
            Backend::Builtin(builtin) => builtin.readiness(),
            Backend::Cni(cni) => cni.readiness(),
        }
    }

    /// CNI ADD. Waits until the network is ready, all within `add_timeout`.
    ///
    /// Once begun, ADD runs to its end; if the caller has left by then, it is undone.
    pub async fn attach(&self, attachment: &Attachment) -> Result<NetworkStatus, Error> {
        let ticket = match &self.inner.backend {
            Backend::Builtin(_) => Ticket::Builtin,
            Backend::Cni(cni) => Ticket::Cni(cni.wait_ready().await?),
        };
        let (inner, a) = (self.inner.clone(), attachment.clone());
        let (answer, attached) = oneshot::channel();
        tokio::spawn(async move {
            let _lock = inner.locks.lock(&a.sandbox_id).await;
            let result = inner.attach(ticket, &a).await;
            if let Err(Ok(_)) = answer.send(result) {
                tracing::info!(sandbox_id = a.sandbox_id, "attached for a caller that has left: undone");
                if let Err(error) = inner.detach(&a).await {
                    tracing::warn!(sandbox_id = a.sandbox_id, %error, "undoing an abandoned attachment");
                }
            }
        });
        attached.await.unwrap_or_else(|_| Err(lost("attach", attachment)))
    }

    /// CNI DEL. Succeeds for what is not attached; the namespace may be gone. Runs to its end even
    /// if the caller leaves.
    pub async fn detach(&self, attachment: &Attachment) -> Result<(), Error> {
        let (inner, a) = (self.inner.clone(), attachment.clone());
        let task = tokio::spawn(async move {
            let _lock = inner.locks.lock(&a.sandbox_id).await;
            inner.detach(&a).await
        });
        task.await.unwrap_or_else(|_| Err(lost("detach", attachment)))
    }

    /// CNI CHECK. Cancelling is safe.
    pub async fn check(&self, attachment: &Attachment) -> Result<(), Error> {
        let _lock = self.inner.locks.lock(&attachment.sandbox_id).await;
        match &self.inner.backend {
            Backend::Builtin(builtin) => builtin.check(attachment).await,
            Backend::Cni(cni) => cni.check(attachment).await,
        }
    }

    /// Collects what is this daemon's and belongs to none of its sandboxes. May run beside all
    /// else: `sandboxes` is asked for their IDs after what there is was looked at, and a sandbox is among them from before its
    /// first attach until after its last detach. Runs to its end even if the caller leaves.
    pub async fn gc(
        &self,
        sandboxes: impl Fn() -> BTreeSet<String> + Send + Sync + 'static,
    ) -> Result<Collected, Error> {
        let inner = self.inner.clone();
        let task = tokio::spawn(async move {
            match &inner.backend {
                Backend::Builtin(builtin) => builtin.gc(sandboxes).await,
                Backend::Cni(cni) => cni.gc(sandboxes, &inner.locks).await,
            }
        });
        task.await.unwrap_or_else(|_| Err(Error::Lost { what: "gc".to_owned() }))
    }

    /// The node's pod ranges (CRI UpdateRuntimeConfig): one or two CIDRs, separated by a comma.
    /// Plugins with the `ipRanges` capability are told, also after a restart of the daemon.
    ///
    /// # Errors
    /// They could not be recorded; they count all the same until the daemon ends.
    pub async fn set_pod_cidr(&self, cidrs: &str) -> Result<(), Error> {
        let cidrs = cidrs.split(',').map(str::trim).filter(|cidr| !cidr.is_empty()).map(str::to_owned);
        match &self.inner.backend {
            // It has its own.
            Backend::Builtin(_) => Ok(()),
            Backend::Cni(cni) => cni.set_pod_cidrs(cidrs.collect()).await,
        }
    }

    /// For Status(verbose).
    pub fn verbose(&self) -> Value {
        match &self.inner.backend {
            Backend::Builtin(builtin) => builtin.verbose(),
            Backend::Cni(cni) => cni.verbose(),
        }
    }

    /// At the daemon's end: leaves nothing on the host if no pod is attached. Pods that run keep
    /// their network.
    pub async fn shutdown(&self) -> Result<(), Error> {
        match &self.inner.backend {
            Backend::Builtin(builtin) => builtin.shutdown().await,
            Backend::Cni(_) => Ok(()),
        }
    }
}

impl Inner {
    async fn attach(&self, ticket: Ticket, a: &Attachment) -> Result<NetworkStatus, Error> {
        match (&self.backend, ticket) {
            (Backend::Cni(cni), Ticket::Cni(ticket)) => cni.attach(ticket, a).await,
            (Backend::Builtin(builtin), _) => builtin.attach(a).await,
            (Backend::Cni(_), Ticket::Builtin) => Err(lost("attach", a)),
        }
    }

    async fn detach(&self, a: &Attachment) -> Result<(), Error> {
        match &self.backend {
            Backend::Builtin(builtin) => builtin.detach(a).await,
            Backend::Cni(cni) => cni.detach(a).await,
        }
    }
}

fn lost(what: &str, a: &Attachment) -> Error {
    Error::Lost { what: format!("{what} of {}", a.sandbox_id) }
}
