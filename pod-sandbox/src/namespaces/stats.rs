//! Counters of a pod's interfaces.

use std::path::Path;

use super::Error;
use crate::network::netlink::{Socket, route};

/// Counters of one interface since it was made, as the pod sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// The counters of all interfaces in the namespace, in the kernel's order, `lo` included.
pub async fn interface_stats(netns: &Path) -> Result<Vec<InterfaceStats>, Error> {
    let path = netns.to_path_buf();
    let lost = Error::Lost { path: path.clone() };
    tokio::task::spawn_blocking(move || {
        let read = || route::links(&mut Socket::route_in(&path)?);
        let links = read().map_err(Error::io("reading interfaces in", &path))?;
        Ok(links.into_iter().map(|link| link.stats).collect())
    })
    .await
    .unwrap_or(Err(lost))
}
