//! Other engines: who is here, and what follows for the operator.

use linkspan_config::Config;

use super::{Finding, fine, warn, wrong};
use crate::check::facts::engines::{Engines, Server};

const SUBJECT: &str = "other engines";

pub(super) fn judge(config: &Config, facts: &Engines) -> Vec<Finding> {
    let mut findings = Vec::new();
    for engine in &facts.running {
        let text = format!(
            "{} listens on {}: its pods, addresses, images and groups are left alone; host ports and the node's memory are \
             shared, and neither engine knows what the other gives out",
            engine.name,
            engine.socket.display()
        );
        findings.push(warn(
            SUBJECT,
            text,
            "let the kubelet use one engine only, drain and stop the other when it is no longer needed",
        ));
    }
    findings.extend(attachments(facts));
    let by = |server: &Server| format!("{} (process {})", server.name, server.pid);
    if let Some(server) = &facts.on_cri_socket {
        let socket = config.grpc.socket.display();
        let text = format!("{} listens on {socket}: the daemon does not start", by(server));
        findings.push(wrong(SUBJECT, text, "choose another grpc.socket, or stop the other"));
    }
    if let Some(server) = &facts.on_nri_socket {
        let socket = config.nri.socket.display();
        let text = format!("{} listens on the NRI socket {socket}: the daemon does not start", by(server));
        findings.push(wrong(SUBJECT, text, "choose another nri.socket, or set nri.enable = false"));
    }
    if facts.bridge_is_there {
        let bridge = &config.network.builtin_bridge;
        let text = format!(
            "the bridge {bridge} of the built-in network is there, and no pod of ours is on it: it is a killed daemon's, or \
             another program's, and then it stays as it is and pods are refused"
        );
        findings.push(warn(SUBJECT, text, "choose another network.builtin_bridge if something else uses it"));
    }
    findings
}

/// In the CNI caches.
fn attachments(facts: &Engines) -> Vec<Finding> {
    let others = &facts.attachments;
    let mut findings = Vec::new();
    if let Some(reason) = &facts.unreadable_cache {
        let text = format!("the CNI cache cannot be read, and addresses will not be collected: {reason}");
        findings.push(warn(SUBJECT, text, "mend what is said, or set another network.cache_dir"));
    }
    for (network, count) in &others.attachments {
        let text = format!(
            "attachments to the CNI network {network} that are not of this daemon: {count}; they are left alone"
        );
        findings.push(match others.collected.as_ref() == Some(network) {
            false => fine(SUBJECT, text),
            true => warn(
                SUBJECT,
                text + "; but GC at the daemon's start may free an address that another engine is giving out at that moment",
                "set \"disableGC\": true in the network's configuration, as for every network that engines share",
            ),
        });
    }
    let Some(collected) = &others.collected else { return findings };
    let unreadable = others.unreadable_of(collected);
    if !unreadable.is_empty() {
        let text = format!(
            "the CNI cache has entries of the network {collected} that cannot be read, and GC is left out because of them: {}",
            unreadable.join(", ")
        );
        findings.push(warn(SUBJECT, text, "remove them if no engine needs them"));
    }
    findings
}
