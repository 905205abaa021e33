//! What is collected, and what is left alone. Pure.
//!
//! ```text
//! our mark, no pod ──▶ DEL                    of whatever network: a renamed one's too
//! our mark, a pod  ──▶ valid
//! no mark, a pod   ──▶ valid                  written by a Linkspan before there were marks
//! all others       ──▶ valid, never changed   another engine's, alive or not
//! unreadable       ──▶ no GC                  it would take away what cannot be named
//! ```

use std::collections::BTreeSet;

use super::super::INTERFACE;
use super::cache::Survey;

/// An attachment as plugins are told of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Valid {
    pub(crate) container_id: String,
    pub(crate) if_name: String,
}

/// What the plugins are to be told.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) plugins: Plugins,
    /// How many attachments are somebody else's.
    pub(crate) foreign: usize,
}

/// For the verb GC.
#[derive(Debug, PartialEq)]
pub(crate) enum Plugins {
    /// Everything goes but these.
    Collect(Vec<Valid>),
    /// Some attachment of the network cannot be named by its ID: these files may be about one.
    Spare { unreadable: Vec<String> },
}

/// Whether a file of the cache is about the network, by whose name it begins.
pub(super) fn is_of(name: &str, network: &str) -> bool {
    name.strip_prefix(network).is_some_and(|rest| rest.starts_with('-'))
}

/// The containers of this daemon's attachments, of whatever network, that are none of `pods`.
pub(crate) fn stale(cached: &Survey, pods: &BTreeSet<String>) -> BTreeSet<String> {
    let own = cached.own.iter().map(|entry| entry.container_id.clone());
    own.filter(|id| !pods.contains(id)).collect()
}

/// `pods` are the sandboxes that this daemon has a record of, `network` is the one that GC is for.
pub(crate) fn decide(cached: Survey, pods: &BTreeSet<String>, network: &str) -> Plan {
    let unreadable: Vec<String> = cached.unreadable.into_iter().filter(|name| is_of(name, network)).collect();
    // Also those whose namespace is not there: it may lie in another mount namespace, and its address is not ours to free.
    let foreign = cached.foreign.into_iter().filter(|entry| !pods.contains(&entry.container_id));
    let (of_network, of_others): (Vec<_>, Vec<_>) = foreign.partition(|entry| entry.network_name == network);
    let count = of_network.len() + of_others.len();
    let plugins = if unreadable.is_empty() {
        let pods = pods.iter().map(|id| (id.clone(), INTERFACE.to_owned()));
        let foreign = of_network.into_iter().map(|entry| (entry.container_id, entry.if_name));
        let valid = pods.chain(foreign);
        Plugins::Collect(valid.map(|(container_id, if_name)| Valid { container_id, if_name }).collect())
    } else {
        Plugins::Spare { unreadable }
    };
    Plan { plugins, foreign: count }
}
