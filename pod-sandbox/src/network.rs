//! A pod's network: CNI plugins, or the built-in bridge.

mod attachment;
mod error;
pub(crate) mod netlink;

use std::sync::Arc;

pub use attachment::{Attachment, DnsConfig, INTERFACE, NetworkStatus, PortMapping, Protocol, Readiness};
pub use error::Error;

/// The network of the node's pods.
#[derive(Clone, Debug)]
pub struct Network {
    inner: Arc<linkspan_config::Network>,
}

const NOT_YET: Error = Error::Unimplemented { what: "the network" };

impl Network {
    /// Starts to watch the configuration.
    pub async fn open(config: &linkspan_config::Network) -> Result<Self, Error> {
        Ok(Self { inner: Arc::new(config.clone()) })
    }

    /// A snapshot; never waits.
    pub fn readiness(&self) -> Readiness {
        Readiness::not_ready("the network is not implemented")
    }

    /// CNI ADD. Waits for a configuration until the deadline. A caller that leaves early gets the
    /// attachment undone.
    pub async fn attach(&self, _attachment: &Attachment) -> Result<NetworkStatus, Error> {
        Err(NOT_YET)
    }

    /// CNI DEL. Succeeds for what is not attached; the namespace may be gone.
    pub async fn detach(&self, _attachment: &Attachment) -> Result<(), Error> {
        Err(NOT_YET)
    }

    /// CNI CHECK.
    pub async fn check(&self, _attachment: &Attachment) -> Result<(), Error> {
        Err(NOT_YET)
    }

    /// Removes what belongs to no attachment in `valid`.
    pub async fn gc(&self, _valid: &[Attachment]) -> Result<(), Error> {
        Err(NOT_YET)
    }

    /// For Status(verbose).
    pub fn verbose(&self) -> serde_json::Value {
        serde_json::json!({ "conf_dir": self.inner.conf_dir })
    }

    /// Leaves nothing behind on the host if no pod is attached.
    pub async fn shutdown(&self) -> Result<(), Error> {
        Ok(())
    }
}
