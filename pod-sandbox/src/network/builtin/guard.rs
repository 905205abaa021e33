//! What a pod may send: frames from its own address alone, and nothing to the host's 127.0.0.0/8. Pure: from addresses to
//! a program that the kernel runs for every frame that leaves the pod. It hangs on the host's end of the pod's pair, so
//! that neither the pod, nor a flush of all nftables rules takes it away.
//!
//! ```text
//! any frame   the pod's MAC, no VLAN tag, IPv4, ARP or IPv6
//! ARP         says who has the pod's address, and no other
//! IPv4        from the pod's address, not to 127.0.0.0/8
//! IPv6        from the pod's address, its link-local one, or none (ICMPv6 alone: duplicate address detection);
//!             a neighbour advertisement tells of these alone
//! ```

mod assembler;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::netlink::filter::Instruction;
use assembler::{Assembler, Goto};

// Offsets in a frame.
const SOURCE_MAC: u32 = 6;
const ETHER_TYPE: u32 = 12;
const ARP_SENDER_MAC: u32 = 22;
const ARP_SENDER: u32 = 28;
const V4_SOURCE: u32 = 26;
const V4_DESTINATION: u32 = 30;
const V6_NEXT_HEADER: u32 = 20;
const V6_SOURCE: u32 = 22;
/// ICMPv6's type, or the header before it.
const V6_PAYLOAD: u32 = 54;
const V6_ADVERTISED: u32 = V6_PAYLOAD + 8;
/// ICMPv6's type after one extension header of eight bytes.
const V6_PAYLOAD_EXTENDED: u32 = V6_PAYLOAD + 8;

const ETH_P_IP: u32 = 0x0800;
const ETH_P_ARP: u32 = 0x0806;
const ETH_P_IPV6: u32 = 0x86dd;
const HOP_BY_HOP: u32 = 0;
const ROUTING: u32 = 43;
const ICMPV6: u32 = 58;
const DESTINATION_OPTIONS: u32 = 60;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
/// Multicast listeners' messages, which come behind a hop-by-hop header.
const LISTENER: [u32; 4] = [130, 131, 132, 143];

/// The program for a pod with these addresses.
pub(crate) fn program(mac: [u8; 6], ips: &[IpAddr]) -> Vec<Instruction> {
    let v4 = ips.iter().find_map(|ip| if let IpAddr::V4(v4) = ip { Some(*v4) } else { None });
    let v6 = ips.iter().find_map(|ip| if let IpAddr::V6(v6) = ip { Some(*v6) } else { None });
    let mut it = Assembler::default();
    it.vlan_tag_present();
    it.branch_equal(0, Goto::Next, Goto::Drop);
    put_mac(&mut it, SOURCE_MAC, mac);
    it.half(ETHER_TYPE);
    if v4.is_some() {
        it.branch_equal(ETH_P_IP, Goto::Label("IPv4"), Goto::Next);
        it.branch_equal(ETH_P_ARP, Goto::Label("ARP"), Goto::Next);
    }
    if v6.is_some() {
        it.branch_equal(ETH_P_IPV6, Goto::Label("IPv6"), Goto::Next);
    }
    it.drop();
    if let Some(v4) = v4 {
        put_v4(&mut it, mac, v4);
    }
    if let Some(v6) = v6 {
        put_v6(&mut it, &[v6, link_local(mac)]);
    }
    it.finish()
}

fn put_v4(it: &mut Assembler, mac: [u8; 6], ip: Ipv4Addr) {
    it.label("ARP");
    it.at_least(ARP_SENDER + 4);
    put_mac(it, ARP_SENDER_MAC, mac);
    it.word(ARP_SENDER);
    // Nobody's address: who sends it asks whether somebody has the one that it wants.
    it.branch_equal(0, Goto::Pass, Goto::Next);
    it.branch_equal(ip.to_bits(), Goto::Pass, Goto::Drop);
    it.label("IPv4");
    it.at_least(V4_DESTINATION + 4);
    it.word(V4_SOURCE);
    it.branch_equal(ip.to_bits(), Goto::Next, Goto::Drop);
    it.byte(V4_DESTINATION);
    it.branch_equal(u32::from(Ipv4Addr::LOCALHOST.octets()[0]), Goto::Drop, Goto::Pass);
}

fn put_v6(it: &mut Assembler, own: &[Ipv6Addr; 2]) {
    it.label("IPv6");
    it.at_least(V6_PAYLOAD);
    put_v6_is(it, V6_SOURCE, own[0], Goto::Label("own"), "link-local");
    put_v6_is(it, V6_SOURCE, own[1], Goto::Label("own"), "unspecified");
    put_v6_is(it, V6_SOURCE, Ipv6Addr::UNSPECIFIED, Goto::Label("none"), "foreign");
    it.drop();
    it.label("none");
    it.byte(V6_NEXT_HEADER);
    it.branch_equal(ICMPV6, Goto::Label("own"), Goto::Next);
    it.branch_equal(HOP_BY_HOP, Goto::Label("own"), Goto::Drop);
    it.label("own");
    it.byte(V6_NEXT_HEADER);
    it.branch_equal(ICMPV6, Goto::Label("ICMPv6"), Goto::Next);
    for header in [HOP_BY_HOP, ROUTING] {
        it.branch_equal(header, Goto::Label("extended"), Goto::Next);
    }
    it.branch_equal(DESTINATION_OPTIONS, Goto::Label("extended"), Goto::Pass);
    // An advertisement behind further headers would not be found: only listeners' messages come so.
    it.label("extended");
    it.at_least(V6_PAYLOAD_EXTENDED + 1);
    it.byte(V6_PAYLOAD);
    it.branch_equal(ICMPV6, Goto::Next, Goto::Drop);
    it.byte(V6_PAYLOAD + 1);
    it.branch_equal(0, Goto::Next, Goto::Drop);
    it.byte(V6_PAYLOAD_EXTENDED);
    for kind in LISTENER {
        it.branch_equal(kind, Goto::Pass, Goto::Next);
    }
    it.drop();
    it.label("ICMPv6");
    it.at_least(V6_PAYLOAD + 1);
    it.byte(V6_PAYLOAD);
    it.branch_equal(NEIGHBOUR_ADVERTISEMENT, Goto::Next, Goto::Pass);
    it.at_least(V6_ADVERTISED + 16);
    put_v6_is(it, V6_ADVERTISED, own[0], Goto::Pass, "of link-local");
    put_v6_is(it, V6_ADVERTISED, own[1], Goto::Pass, "of a foreign one");
    it.drop();
}

/// Goes to `then` if the address at the offset is this one, else on behind a label of this name.
fn put_v6_is(it: &mut Assembler, offset: u32, ip: Ipv6Addr, then: Goto, otherwise: &'static str) {
    let bits = ip.to_bits();
    let words = [(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32];
    for (place, (at, word)) in (offset..).step_by(4).zip(words).enumerate() {
        it.word(at);
        it.branch_equal(word, if place == 3 { then } else { Goto::Next }, Goto::Label(otherwise));
    }
    it.label(otherwise);
}

fn put_mac(it: &mut Assembler, offset: u32, mac: [u8; 6]) {
    let [m0, m1, m2, m3, m4, m5] = mac;
    it.word(offset);
    it.branch_equal(u32::from_be_bytes([m0, m1, m2, m3]), Goto::Next, Goto::Drop);
    it.half(offset + 4);
    it.branch_equal(u32::from(u16::from_be_bytes([m4, m5])), Goto::Next, Goto::Drop);
}

/// RFC 4291, appendix A: what the kernel gives an interface by itself.
fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [m0, m1, m2, m3, m4, m5] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, (m0 ^ 2) << 8 | m1, m2 << 8 | 0xff, 0xfe00 | m3, m4 << 8 | m5)
}
