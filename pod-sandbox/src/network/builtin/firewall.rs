//! The nftables rules of the built-in network. Pure: from subnets and attachments to rules.
//!
//! ```text
//! guard        raw     pods never reach the host's 127.0.0.0/8, though the bridge routes it
//! prerouting   nat ┐
//! output       nat ┴─▶ ports: one rule per host port and family
//! postrouting  nat     masquerade: to the world, and back into the bridge after a host port
//! ```

use std::net::{IpAddr, Ipv4Addr};

use super::super::netlink::nft::{Chain, Expr, Family, Hook};
use super::super::{PortMapping, Protocol};
use super::ledger::Record;
use super::subnet::Subnet;

const PORTS: &str = "ports";
const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);

/// The table's name.
pub(crate) fn table(bridge: &str) -> String {
    format!("linkspan-{bridge}")
}

/// All chains with all rules.
pub(crate) fn chains<'a>(
    bridge: &str,
    subnets: &[Subnet],
    records: impl Iterator<Item = &'a Record>,
) -> Vec<Chain> {
    let to_ports = vec![vec![Expr::DestinationIsLocal, Expr::Jump(PORTS)]];
    let mapped = |record: &'a Record| {
        record.ports.iter().flat_map(move |port| record.ips.iter().filter_map(move |ip| rule(port, *ip)))
    };
    let chain = |name, hook, rules| Chain { name, hook, rules };
    vec![
        // First, since the others jump to it.
        chain(PORTS, None, records.flat_map(mapped).collect()),
        chain("guard", Some(Hook::RAW_PREROUTING), vec![guard(bridge)]),
        chain("prerouting", Some(Hook::NAT_PREROUTING), to_ports.clone()),
        chain("output", Some(Hook::NAT_OUTPUT), to_ports),
        chain("postrouting", Some(Hook::NAT_POSTROUTING), masquerade(bridge, subnets)),
    ]
}

/// `route_localnet` lets the host's own 127.0.0.1 reach pods; it must not let pods reach 127.0.0.1.
fn guard(bridge: &str) -> Vec<Expr> {
    vec![Expr::InputInterface(bridge.to_owned()), Expr::Destination(LOOPBACK.0, LOOPBACK.1), Expr::Drop]
}

fn masquerade(bridge: &str, subnets: &[Subnet]) -> Vec<Vec<Expr>> {
    let out = || Expr::OutputInterface(bridge.to_owned());
    let mut rules = vec![vec![out(), Expr::Source(LOOPBACK.0, LOOPBACK.1), Expr::Masquerade]];
    for subnet in subnets {
        let source = || Expr::Source(subnet.network(), subnet.prefix());
        // A pod that comes back by a host port: the answer must pass the host again.
        rules.push(vec![out(), source(), Expr::WasDnat, Expr::Masquerade]);
        rules.push(vec![Expr::OutputInterfaceNot(bridge.to_owned()), source(), Expr::Masquerade]);
    }
    rules
}

/// `None` if the port is of the other family.
fn rule(port: &PortMapping, pod: IpAddr) -> Option<Vec<Expr>> {
    let family = Family::of(pod);
    let mut rule = vec![match port.host_ip {
        Some(ip) if Family::of(ip) != family => return None,
        Some(ip) if !ip.is_unspecified() => Expr::Destination(ip, if ip.is_ipv4() { 32 } else { 128 }),
        _ => Expr::Family(family),
    }];
    rule.push(Expr::DestinationPort(number(port.protocol), port.host_port));
    rule.push(Expr::Dnat(pod, port.container_port));
    Some(rule)
}

/// IANA protocol numbers.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}
