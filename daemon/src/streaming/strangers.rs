//! Connections that have shown no ticket yet. Whoever reaches the port may open them, so there are so many, and so many
//! from one address; the node's own, which the kubelet's are, always find room.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most of all; more wait in the kernel's queue.
const MOST: usize = 256;
/// Most from other hosts, and from one of them; one more is closed.
const MOST_FOREIGN: usize = 192;
const MOST_OF_ONE: usize = 32;

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(super) struct Strangers {
    room: Arc<Semaphore>,
    foreign: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place, until it has shown its ticket.
#[derive(Debug)]
pub(super) struct Stranger {
    _room: OwnedSemaphorePermit,
    /// The address under which it is counted.
    foreign: Option<(Strangers, IpAddr)>,
}

impl Strangers {
    pub(super) fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(MOST)), foreign: Arc::default() }
    }

    /// Waits until there is room for one more. Cancel safe.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        self.room.clone().acquire_owned().await.expect("nobody closes it")
    }

    /// Of a connection from `peer` to `local`; `None` if it has to be closed.
    pub(super) fn admit(
        &self,
        room: OwnedSemaphorePermit,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Option<Stranger> {
        let address = peer.ip().to_canonical();
        if address.is_loopback() || address == local.ip().to_canonical() {
            return Some(Stranger { _room: room, foreign: None });
        }
        let host = host(address);
        let mut foreign = self.foreign();
        if foreign.values().sum::<usize>() >= MOST_FOREIGN || foreign.get(&host) >= Some(&MOST_OF_ONE) {
            return None;
        }
        *foreign.entry(host).or_default() += 1;
        drop(foreign);
        Some(Stranger { _room: room, foreign: Some((self.clone(), host)) })
    }

    fn foreign(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.foreign.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has one IPv6 address has a network of them (RFC 6177).
fn host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let Some((strangers, host)) = self.foreign.take() else { return };
        let mut foreign = strangers.foreign();
        if let Some(count) = foreign.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                foreign.remove(&host);
            }
        }
    }
}

#[cfg(test)]
mod tests;
