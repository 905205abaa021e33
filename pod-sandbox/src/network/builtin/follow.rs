//! Rules that somebody else flushed come back: `systemctl reload nftables` begins with `flush ruleset`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::Error;
use super::super::netlink::changes::Changes;
use super::super::netlink::nft;
use super::{Inner, blocking, firewall};

/// A flush and what is written after it are one change; and who flushes without end is answered no faster than this.
const SETTLE: Duration = Duration::from_millis(200);

/// Looks at the rules whenever anything of nftables has changed, until the network is dropped.
pub(super) fn start(inner: &Arc<Inner>) {
    if inner.trouble.is_some() {
        return;
    }
    match Changes::of_nftables() {
        Ok(changes) => drop(tokio::spawn(run(Arc::downgrade(inner), changes))),
        Err(error) => {
            tracing::warn!(%error, "changes of nftables cannot be followed: flushed rules stay away until the next pod");
        }
    }
}

async fn run(network: Weak<Inner>, mut changes: Changes) {
    loop {
        if let Err(error) = changes.next().await {
            tracing::warn!(%error, "following changes of nftables failed");
        }
        tokio::time::sleep(SETTLE).await;
        let Some(inner) = network.upgrade() else { return };
        if let Err(error) = blocking(move || inner.restore()).await {
            tracing::error!(%error, "rules of the built-in network are not restored; the next change tries again");
        }
    }
}

impl Inner {
    /// Writes the rules again if they are not all there.
    fn restore(&self) -> Result<(), Error> {
        let ledger = self.ledger();
        if ledger.is_empty() {
            return Ok(());
        }
        let table = firewall::table(&self.bridge);
        let chains = firewall::chains(&self.bridge, &self.subnets, ledger.records());
        let expected: usize = chains.iter().map(|chain| chain.rules.len()).sum();
        let there = nft::count_rules(&table)
            .map_err(Error::netlink(format!("counting rules of nftables table {table}")))?;
        if there == expected {
            return Ok(());
        }
        tracing::warn!(
            table,
            there,
            expected,
            "nftables rules were changed by somebody else and are written again"
        );
        self.write_chains(&chains)
    }
}
