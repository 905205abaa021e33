//! The built-in network: a bridge, for nodes without a CNI set-up. No process is run and no file
//! is needed; interfaces are made by rtnetlink, host ports and masquerading by nftables.
//!
//! ```text
//! attach:  record (addresses, ports) ─ bridge, rules ─ veth pair ─ addresses, routes
//! detach:  veth pair ─ record ─ rules;  a while after the last pod: bridge and table
//! ```
//! The record precedes the link and outlives it, so a crash in between is cleaned up by detach.

mod firewall;
mod follow;
mod guard;
mod ledger;
mod links;
mod subnet;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::netlink::nft::{self, Chain};
use super::{Attachment, Collected, Error, INTERFACE, NetworkStatus, Readiness};
use crate::locks::lock;
use ledger::{Ledger, Record};
use subnet::Subnet;

/// How long bridge and table stay when the last pod has gone: removing them costs more than
/// attaching a pod, and the next pod often comes at once.
const LINGER: Duration = Duration::from_secs(10);

/// The built-in network. Clones are the same network.
#[derive(Clone, Debug)]
pub(crate) struct Builtin {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bridge: String,
    subnets: Vec<Subnet>,
    /// Held while bridge and rules are made to agree with it, never while a pod's link is made.
    ledger: Mutex<Ledger>,
    /// Why the kernel does not let us.
    trouble: Option<String>,
    linger: Duration,
}

impl Builtin {
    /// Reads what an earlier daemon recorded; changes nothing on the host.
    pub(crate) async fn open(config: &linkspan_config::Network) -> Result<Self, Error> {
        let network = Self::open_with(config, LINGER).await?;
        follow::start(&network.inner);
        Ok(network)
    }

    async fn open_with(config: &linkspan_config::Network, linger: Duration) -> Result<Self, Error> {
        let subnets = parse_subnets(&config.builtin_subnets)?;
        let (bridge, dir) = (config.builtin_bridge.clone(), config.builtin_dir.clone());
        blocking(move || {
            let ledger = Mutex::new(Ledger::open(&dir, subnets.clone())?);
            let trouble = nft::probe().err().map(|error| format!("nftables cannot be used: {error}"));
            Ok(Self { inner: Arc::new(Inner { bridge, subnets, ledger, trouble, linger }) })
        })
        .await
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match &self.inner.trouble {
            None => Readiness::Ready,
            Some(trouble) => Readiness::not_ready(trouble),
        }
    }

    pub(crate) fn verbose(&self) -> Value {
        json!({
            "network": "built-in",
            "bridge": self.inner.bridge,
            "subnets": self.inner.subnets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "table": firewall::table(&self.inner.bridge),
        })
    }

    /// If it fails, nothing is left of it.
    pub(crate) async fn attach(&self, a: &Attachment) -> Result<NetworkStatus, Error> {
        let (inner, a) = (self.inner.clone(), a.clone());
        blocking(move || {
            inner.attach(&a).inspect_err(|_| {
                if let Err(error) = inner.detach(&a.sandbox_id) {
                    tracing::warn!(sandbox_id = a.sandbox_id, %error, "undoing a failed attachment");
                }
            })
        })
        .await
    }

    pub(crate) async fn detach(&self, a: &Attachment) -> Result<(), Error> {
        let (inner, id) = (self.inner.clone(), a.sandbox_id.clone());
        let last = blocking(move || inner.detach(&id).map(|()| inner.ledger().is_empty())).await?;
        if last {
            self.remove_later();
        }
        Ok(())
    }

    /// If no pod comes for a while, nothing of the network is left.
    fn remove_later(&self) {
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(this.inner.linger).await;
            if let Err(error) = this.shutdown().await {
                tracing::warn!(%error, "removing the built-in network after its last pod");
            }
        });
    }

    /// Compares the record with the links that are there.
    pub(crate) async fn check(&self, a: &Attachment) -> Result<(), Error> {
        let (inner, a) = (self.inner.clone(), a.clone());
        blocking(move || inner.check(&a)).await
    }

    /// Detaches what is not in `valid`, and makes rules and records agree again.
    pub(crate) async fn gc(
        &self,
        sandboxes: impl FnOnce() -> BTreeSet<String> + Send + 'static,
    ) -> Result<Collected, Error> {
        let inner = self.inner.clone();
        let (count, none) =
            blocking(move || inner.gc(sandboxes).map(|count| (count, inner.ledger().is_empty()))).await?;
        if none {
            self.remove_later();
        }
        Ok(Collected { count, is_all: true })
    }

    /// Removes bridge and table at once, unless pods are attached.
    pub(crate) async fn shutdown(&self) -> Result<(), Error> {
        let inner = self.inner.clone();
        blocking(move || {
            let ledger = inner.ledger();
            if ledger.is_empty() && inner.trouble.is_none() { inner.remove_all() } else { Ok(()) }
        })
        .await
    }
}

impl Inner {
    fn attach(&self, a: &Attachment) -> Result<NetworkStatus, Error> {
        if let Some(trouble) = &self.trouble {
            return Err(Error::NotReady { waited: Duration::ZERO, message: trouble.clone() });
        }
        if a.sandbox_id.is_empty() || a.sandbox_id.contains('/') {
            let message = format!("sandbox ID {:?} is not a file name", a.sandbox_id);
            return Err(Error::BadRequest { pod: a.pod_name.clone(), message });
        }
        if a.annotations.keys().any(|key| key.ends_with("gress-bandwidth")) {
            tracing::warn!(sandbox_id = a.sandbox_id, "the built-in network does not limit bandwidth");
        }
        // What a crash in an earlier attach of the same pod left.
        if self.ledger().get(&a.sandbox_id).is_some() {
            self.detach(&a.sandbox_id)?;
        }
        let (record, bridge) = {
            let mut ledger = self.ledger();
            let first = ledger.is_empty();
            let record = ledger.reserve(a, links::veth_name(&a.sandbox_id))?;
            let bridge = links::ensure_bridge(&self.bridge, &self.subnets)?;
            if first || !record.ports.is_empty() {
                self.write_rules(&ledger)?;
            }
            links::route_loopback(&self.bridge)?;
            (record, bridge)
        };
        links::connect(bridge, &record, &a.netns, &self.subnets)?;
        Ok(self.status(&record, a))
    }

    fn detach(&self, sandbox_id: &str) -> Result<(), Error> {
        let known = self.ledger().get(sandbox_id).cloned();
        let Some(record) = known else { return Ok(()) };
        links::remove(&record.veth)?;
        let mut ledger = self.ledger();
        ledger.release(sandbox_id)?;
        if record.ports.is_empty() { Ok(()) } else { self.write_rules(&ledger) }
    }

    fn check(&self, a: &Attachment) -> Result<(), Error> {
        use super::netlink::{Socket, route};
        let failed = || Error::netlink(format!("checking the network of pod {}", a.pod_name));
        let bad = |message: &str| Error::BadRequest { pod: a.pod_name.clone(), message: message.to_owned() };
        let record = self.ledger().get(&a.sandbox_id).cloned().ok_or_else(|| bad("is not attached"))?;
        let mut host = Socket::route().map_err(failed())?;
        let bridge =
            route::link(&mut host, &self.bridge).map_err(failed())?.ok_or_else(|| bad("bridge is gone"))?;
        let near =
            route::link(&mut host, &record.veth).map_err(failed())?.ok_or_else(|| bad("veth is gone"))?;
        if near.master != bridge.index {
            return Err(bad("veth has left the bridge"));
        }
        let mut pod = Socket::route_in(&a.netns).map_err(failed())?;
        route::link(&mut pod, INTERFACE).map_err(failed())?.ok_or_else(|| bad("eth0 is gone"))?;
        Ok(())
    }

    fn gc(&self, sandboxes: impl FnOnce() -> BTreeSet<String>) -> Result<u64, Error> {
        let mut stale: Vec<String> =
            self.ledger().records().map(|record| record.sandbox_id.clone()).collect();
        let valid = sandboxes();
        stale.retain(|id| !valid.contains(id));
        let (mut outcome, collected) = (Ok(()), stale.len() as u64);
        for sandbox_id in stale {
            tracing::info!(sandbox_id, "address without a pod is collected");
            outcome = outcome.and(self.detach(&sandbox_id));
        }
        let ledger = self.ledger();
        if self.trouble.is_none() && !ledger.is_empty() {
            // Somebody may have flushed all rules while we were away.
            outcome = outcome.and(self.write_rules(&ledger));
            outcome = outcome.and(links::guard_again(ledger.records()));
        }
        outcome.map(|()| collected)
    }

    fn write_rules(&self, ledger: &Ledger) -> Result<(), Error> {
        self.write_chains(&firewall::chains(&self.bridge, &self.subnets, ledger.records()))
    }

    fn write_chains(&self, chains: &[Chain]) -> Result<(), Error> {
        let table = firewall::table(&self.bridge);
        nft::replace(&table, chains).map_err(Error::netlink(format!("writing nftables table {table}")))
    }

    fn remove_all(&self) -> Result<(), Error> {
        let table = firewall::table(&self.bridge);
        nft::remove(&table).map_err(Error::netlink(format!("removing nftables table {table}")))?;
        links::remove_bridge(&self.bridge)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // The ledger changes memory last: after a panic it is as it was on disk, or one step behind.
        lock(&self.ledger)
    }

    /// A result as a CNI plugin would give it.
    fn status(&self, record: &Record, a: &Attachment) -> NetworkStatus {
        let ips: Vec<Value> = record
            .ips
            .iter()
            .zip(&self.subnets)
            .map(|(ip, subnet)| {
                let address = format!("{ip}/{}", subnet.prefix());
                json!({ "address": address, "gateway": subnet.gateway(), "interface": 2 })
            })
            .collect();
        let any = |subnet: &Subnet| if subnet.network().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        let routes: Vec<Value> =
            self.subnets.iter().map(|s| json!({ "dst": any(s), "gw": s.gateway() })).collect();
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                { "name": self.bridge },
                { "name": record.veth },
                { "name": INTERFACE, "sandbox": a.netns },
            ],
            "ips": ips,
            "routes": routes,
        });
        NetworkStatus { ips: record.ips.clone(), network: self.bridge.clone(), result }
    }
}

fn parse_subnets(texts: &[String]) -> Result<Vec<Subnet>, Error> {
    let bad = |subnet: &str, message: &str| Error::BadSubnet {
        subnet: subnet.to_owned(),
        message: message.to_owned(),
    };
    let subnets: Vec<Subnet> = texts
        .iter()
        .map(|text| text.parse().map_err(|message| bad(text, message)))
        .collect::<Result<_, _>>()?;
    let of_family =
        |six| subnets.iter().filter(move |subnet| IpAddr::is_ipv6(&subnet.network()) == six).count();
    if of_family(false) > 1 || of_family(true) > 1 || subnets.is_empty() {
        return Err(bad(&texts.join(", "), "one of each family at most, and one at least, is possible"));
    }
    Ok(subnets)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let lost = || Error::Lost { what: "the built-in network".to_owned() };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(lost()))
}
