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
    let links = super::in_network(netns, || route::links(&mut Socket::route()?)).await?;
    let links = links.map_err(Error::io("reading interfaces in", netns))?;
    Ok(links.into_iter().map(|link| link.stats).collect())
}
