//! The bridge, the pods' veth pairs, and the kernel settings that go with them.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::super::netlink::filter;
use super::super::netlink::route::{self, Veth};
use super::super::netlink::{self, Socket};
use super::super::{Error, INTERFACE};
use super::guard;
use super::ledger::Record;
use super::subnet::Subnet;

const DEFAULT_MTU: u32 = 1500;

/// The bridge as the pods' links need it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bridge {
    index: u32,
    mtu: u32,
}

/// Makes the bridge if it is not there, and sets what must be set on it. Changes two settings of
/// the whole host, if they are not so already, and leaves them: `ip_forward`, and for IPv6
/// `forwarding` (interfaces that learn from router advertisements go on doing so).
pub(crate) fn ensure_bridge(name: &str, subnets: &[Subnet]) -> Result<Bridge, Error> {
    let mut socket = Socket::route().map_err(Error::netlink("opening rtnetlink"))?;
    let failed = |what: &str| Error::netlink(format!("{what} bridge {name}"));
    let link = match route::link(&mut socket, name).map_err(failed("looking for"))? {
        Some(link) => link,
        None => {
            route::add_bridge(&mut socket, name, mac(name)).map_err(failed("making"))?;
            route::link(&mut socket, name)
                .map_err(failed("looking for"))?
                .ok_or_else(|| failed("looking for")(io::ErrorKind::NotFound.into()))?
        }
    };
    if !is_ours(&link, name) {
        let other =
            "an interface of that name was not made by linkspan; network.builtin_bridge names another one";
        return Err(failed("looking for")(io::Error::other(other)));
    }
    let six = subnets.iter().any(|subnet| subnet.network().is_ipv6());
    if six {
        // Pods must not be able to give the host routes.
        set(&format!("net/ipv6/conf/{name}/accept_ra"), "0")?;
        forward_six()?;
    }
    set("net/ipv4/ip_forward", "1")?;
    for subnet in subnets {
        route::add_address(&mut socket, link.index, subnet.gateway(), subnet.prefix())
            .map_err(failed("giving an address to"))?;
    }
    route::up(&mut socket, link.index).map_err(failed("bringing up"))?;
    let mtu = uplink_mtu(&mut socket).unwrap_or(DEFAULT_MTU);
    Ok(Bridge { index: link.index, mtu })
}

/// Lets the host's own 127.0.0.1 reach host ports. The rules of `firewall` come first.
pub(crate) fn route_loopback(bridge: &str) -> Result<(), Error> {
    set(&format!("net/ipv4/conf/{bridge}/route_localnet"), "1")
}

/// By the address that it was made with: nobody else gives that to a bridge of this name.
fn is_ours(link: &route::Link, name: &str) -> bool {
    link.kind == "bridge" && link.mac == mac(name)
}

/// Gone is fine, and what somebody else made stays.
pub(crate) fn remove_bridge(name: &str) -> Result<(), Error> {
    let mut socket = Socket::route().map_err(Error::netlink("opening rtnetlink"))?;
    let failed = || Error::netlink(format!("looking for bridge {name}"));
    match route::link(&mut socket, name).map_err(failed())? {
        Some(link) if is_ours(&link, name) => remove(name),
        _ => Ok(()),
    }
}

/// Gone is fine.
pub(crate) fn remove(name: &str) -> Result<(), Error> {
    let mut socket = Socket::route().map_err(Error::netlink("opening rtnetlink"))?;
    route::delete(&mut socket, name).map_err(Error::netlink(format!("removing interface {name}")))
}

/// Connects the pod's namespace to the bridge and configures its end.
pub(crate) fn connect(
    bridge: Bridge,
    record: &Record,
    netns: &Path,
    subnets: &[Subnet],
) -> Result<(), Error> {
    let mut socket = Socket::route().map_err(Error::netlink("opening rtnetlink"))?;
    let file = fs::File::open(netns).map_err(Error::io("opening network namespace", netns))?;
    let failed = |what: &str| Error::netlink(format!("{what} {} of pod {}", record.veth, record.pod));
    let veth = Veth {
        name: &record.veth,
        peer: INTERFACE,
        peer_netns: file.as_fd(),
        peer_mac: pod_mac(record),
        master: bridge.index,
        mtu: bridge.mtu,
    };
    route::add_veth(&mut socket, veth).map_err(failed("making veth pair"))?;
    let near = guard(&mut socket, record)?;
    // Needed where bridged packets pass the IP rules (br_netfilter), as Kubernetes nodes often have it.
    route::set_hairpin(&mut socket, near).map_err(failed("setting hairpin mode of"))?;
    let far_end = || configure(record, subnets);
    netlink::within(netns, far_end).map_err(Error::io("entering network namespace", netns))?
}

/// The pod sends from its own addresses alone, from now on. Returns the index of the host's end.
fn guard(socket: &mut Socket, record: &Record) -> Result<u32, Error> {
    let failed = |what: &str| Error::netlink(format!("{what} {} of pod {}", record.veth, record.pod));
    let near = route::link(socket, &record.veth)
        .map_err(failed("looking for"))?
        .ok_or_else(|| failed("looking for")(io::ErrorKind::NotFound.into()))?;
    let program = guard::program(pod_mac(record), &record.ips);
    filter::judge_ingress(socket, near.index, &program)
        .map_err(failed("guarding (kernel options NET_SCH_INGRESS, NET_CLS_BPF)"))?;
    Ok(near.index)
}

/// Guards the pods that a daemon of an earlier version connected. What is gone needs none.
pub(crate) fn guard_again<'a>(records: impl Iterator<Item = &'a Record>) -> Result<(), Error> {
    let mut socket = Socket::route().map_err(Error::netlink("opening rtnetlink"))?;
    let mut outcome = Ok(());
    for record in records {
        let there = route::link(&mut socket, &record.veth);
        if matches!(there, Ok(Some(_))) {
            outcome = outcome.and(guard(&mut socket, record).map(|_| ()));
        }
    }
    outcome
}

/// Runs in the pod's namespace.
fn configure(record: &Record, subnets: &[Subnet]) -> Result<(), Error> {
    let failed = |what: &str| Error::netlink(format!("{what} {INTERFACE} of pod {}", record.pod));
    let mut socket = Socket::route().map_err(failed("opening rtnetlink for"))?;
    let link = route::link(&mut socket, INTERFACE)
        .map_err(failed("looking for"))?
        .ok_or_else(|| failed("looking for")(io::ErrorKind::NotFound.into()))?;
    if record.ips.iter().any(IpAddr::is_ipv6) {
        set(&format!("net/ipv6/conf/{INTERFACE}/accept_ra"), "0")?;
    }
    for (ip, subnet) in record.ips.iter().zip(subnets) {
        route::add_address(&mut socket, link.index, *ip, subnet.prefix())
            .map_err(failed("giving an address to"))?;
    }
    route::up(&mut socket, link.index).map_err(failed("bringing up"))?;
    for subnet in subnets {
        route::add_default_route(&mut socket, link.index, subnet.gateway())
            .map_err(failed("adding the default route by"))?;
    }
    Ok(())
}

/// A stable name for the host's end of a pod's pair; at most 15 bytes.
pub(crate) fn veth_name(sandbox_id: &str) -> String {
    let hash: String = Sha256::digest(sandbox_id).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("lsv{hash}")
}

fn pod_mac(record: &Record) -> [u8; 6] {
    mac(&record.ips.first().map(IpAddr::to_string).unwrap_or_default())
}

/// A stable, locally administered address: a bridge without one takes on that of a port, and
/// everybody's neighbour tables are wrong when it changes.
fn mac(seed: &str) -> [u8; 6] {
    let hash = Sha256::digest(seed);
    [0x02, hash[0], hash[1], hash[2], hash[3], hash[4]]
}

/// Forwarding turns a host into a router, which by default no longer learns routes itself; `2`
/// means learning all the same.
fn forward_six() -> Result<(), Error> {
    let all = "net/ipv6/conf/all/forwarding";
    if fs::read_to_string(format!("/proc/sys/{all}")).is_ok_and(|now| now.trim() == "1") {
        return Ok(());
    }
    let dir = Path::new("/proc/sys/net/ipv6/conf");
    for interface in fs::read_dir(dir).map_err(Error::io("reading directory", dir))?.flatten() {
        let path = interface.path().join("accept_ra");
        if fs::read_to_string(&path).is_ok_and(|now| now.trim() == "1") {
            fs::write(&path, "2").map_err(Error::io("writing", path))?;
        }
    }
    set(all, "1")
}

fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys").join(name);
    // Not written needlessly: /proc/sys may be read-only, and set right by somebody else.
    if fs::read_to_string(&path).is_ok_and(|now| now.trim() == value) {
        return Ok(());
    }
    tracing::debug!(sysctl = name, value, "setting");
    fs::write(&path, value).map_err(Error::io("writing", path))
}

/// The MTU of the interface with the default route: larger packets of pods would be lost there.
fn uplink_mtu(socket: &mut Socket) -> Option<u32> {
    // Not /proc/net, which shows the namespace of the process's first thread.
    let routes = fs::read_to_string("/proc/thread-self/net/route").ok()?;
    let uplink = routes.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let interface = words.next()?;
        (words.next()? == "00000000").then_some(interface)
    })?;
    route::link(socket, uplink).ok()?.map(|link| link.mtu).filter(|mtu| *mtu > 0)
}
