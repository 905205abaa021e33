//! Interfaces, addresses and routes (rtnetlink).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::message::{Message, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, attributes};
use super::{Socket, errno};
use crate::namespaces::InterfaceStats;

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFLA_PROTINFO: u16 = 12;
const IFLA_BRPORT_MODE: u16 = 4;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_FLAGS: u16 = 8;
/// No duplicate address detection: an IPv6 address would be unusable for up to two seconds.
const IFA_F_NODAD: u32 = 2;

const RTA_GATEWAY: u16 = 5;
const RTA_OIF: u16 = 4;

const AF_BRIDGE: u8 = libc::AF_BRIDGE as u8;
const IFF_UP: u32 = 1;
/// A network namespace's first interface is always `lo`.
const LOOPBACK_INDEX: u32 = 1;

/// An interface as the kernel describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    /// Of hardware's length, whatever the link is.
    pub(crate) mac: [u8; 6],
    /// `bridge`, `veth`, …; empty for hardware and `lo`.
    pub(crate) kind: String,
    /// Index of the bridge it is a port of; 0 for none.
    pub(crate) master: u32,
    /// Its name is in here, too.
    pub(crate) stats: InterfaceStats,
}

/// Brings `lo` up in the calling thread's network namespace.
pub(crate) fn loopback_up() -> io::Result<()> {
    up(&mut Socket::route()?, LOOPBACK_INDEX)
}

/// All interfaces of the socket's namespace.
pub(crate) fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let answers = socket.query(Message::new(RTM_GETLINK, 0, &link_header(0, 0)), true)?;
    Ok(answers.iter().filter_map(|body| parse_link(body)).collect())
}

/// One interface by its name.
pub(crate) fn link(socket: &mut Socket, name: &str) -> io::Result<Option<Link>> {
    let message = Message::new(RTM_GETLINK, 0, &link_header(0, 0)).text(IFLA_IFNAME, name);
    match socket.query(message, false) {
        Ok(answers) => Ok(answers.iter().find_map(|body| parse_link(body))),
        Err(error) if errno(&error) == Some(Errno::NODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a bridge, down and without addresses.
pub(crate) fn add_bridge(socket: &mut Socket, name: &str, mac: [u8; 6]) -> io::Result<()> {
    let message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_header(0, 0))
        .text(IFLA_IFNAME, name)
        .bytes(IFLA_ADDRESS, &mac)
        .nest(IFLA_LINKINFO, |info| info.text(IFLA_INFO_KIND, "bridge"));
    socket.request(message)
}

/// Both ends of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Veth<'a> {
    pub(crate) name: &'a str,
    pub(crate) peer: &'a str,
    pub(crate) peer_netns: BorrowedFd<'a>,
    pub(crate) peer_mac: [u8; 6],
    /// Index of the bridge that takes the near end.
    pub(crate) master: u32,
    pub(crate) mtu: u32,
}

/// Makes a veth pair: the near end up and on its bridge, the far end already in its namespace.
pub(crate) fn add_veth(socket: &mut Socket, veth: Veth<'_>) -> io::Result<()> {
    let netns = u32::try_from(veth.peer_netns.as_raw_fd()).unwrap_or(u32::MAX);
    let message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link_header(0, IFF_UP))
        .text(IFLA_IFNAME, veth.name)
        .u32(IFLA_MTU, veth.mtu)
        .u32(IFLA_MASTER, veth.master)
        .nest(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth").nest(IFLA_INFO_DATA, |data| {
                data.nest(VETH_INFO_PEER, |peer| {
                    peer.raw(&link_header(0, 0))
                        .text(IFLA_IFNAME, veth.peer)
                        .bytes(IFLA_ADDRESS, &veth.peer_mac)
                        .u32(IFLA_MTU, veth.mtu)
                        .u32(IFLA_NET_NS_FD, netns)
                })
            })
        });
    socket.request(message)
}

/// Lets a bridge send a frame back through the port it came in by: a pod that calls itself by its
/// host port.
pub(crate) fn set_hairpin(socket: &mut Socket, index: u32) -> io::Result<()> {
    let mut header = link_header(index, 0);
    header[0] = AF_BRIDGE;
    let message =
        Message::new(RTM_SETLINK, 0, &header).nest(IFLA_PROTINFO, |port| port.bytes(IFLA_BRPORT_MODE, &[1]));
    socket.request(message)
}

/// Sets the interface up.
pub(crate) fn up(socket: &mut Socket, index: u32) -> io::Result<()> {
    socket.request(Message::new(RTM_NEWLINK, 0, &link_header(index, IFF_UP)))
}

/// Removes the interface, and with it its peer. Gone is fine.
pub(crate) fn delete(socket: &mut Socket, name: &str) -> io::Result<()> {
    let message = Message::new(RTM_DELLINK, 0, &link_header(0, 0)).text(IFLA_IFNAME, name);
    match socket.request(message) {
        Err(error) if errno(&error) == Some(Errno::NODEV) => Ok(()),
        result => result,
    }
}

/// Gives the interface an address; there already is fine.
pub(crate) fn add_address(socket: &mut Socket, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
    let (family, bytes) = octets(address);
    let mut header = [0; 8];
    header[0] = family;
    header[1] = prefix;
    header[4..].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &header)
        .bytes(IFA_LOCAL, &bytes)
        .bytes(IFA_ADDRESS, &bytes);
    if address.is_ipv6() {
        message = message.u32(IFA_FLAGS, IFA_F_NODAD);
    }
    socket.request(message)
}

/// A default route.
pub(crate) fn add_default_route(socket: &mut Socket, index: u32, gateway: IpAddr) -> io::Result<()> {
    const RT_TABLE_MAIN: u8 = 254;
    const RTPROT_BOOT: u8 = 3;
    const RTN_UNICAST: u8 = 1;
    let (family, bytes) = octets(gateway);
    let header = [family, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST, 0, 0, 0, 0];
    let message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &header)
        .bytes(RTA_GATEWAY, &bytes)
        .u32(RTA_OIF, index);
    socket.request(message)
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    }
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let index = u32::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let mut link = Link { index, ..Link::default() };
    for (kind, value) in attributes(body.get(16..)?) {
        match kind {
            IFLA_IFNAME => link.stats.name = text(value),
            IFLA_ADDRESS => link.mac = value.first_chunk().copied().unwrap_or_default(),
            IFLA_MTU => link.mtu = u32::from_ne_bytes(*value.first_chunk()?),
            IFLA_MASTER => link.master = u32::from_ne_bytes(*value.first_chunk()?),
            IFLA_STATS64 => read_stats(value, &mut link.stats),
            IFLA_LINKINFO => {
                link.kind = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                    .map(|(_, value)| text(value))
                    .unwrap_or_default();
            }
            _ => {}
        }
    }
    Some(link)
}

/// `struct rtnl_link_stats64`.
fn read_stats(value: &[u8], stats: &mut InterfaceStats) {
    let mut fields = value.as_chunks().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
    for field in [
        &mut stats.rx_packets,
        &mut stats.tx_packets,
        &mut stats.rx_bytes,
        &mut stats.tx_bytes,
        &mut stats.rx_errors,
        &mut stats.tx_errors,
        &mut stats.rx_dropped,
        &mut stats.tx_dropped,
    ] {
        *field = fields.next().unwrap_or_default();
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}
