//! nftables: tables, chains and rules in one transaction (`linux/netfilter/nf_tables.h`).

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;

use super::message::{Message, NLM_F_APPEND, NLM_F_CREATE, attributes};
use super::{Socket, errno};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = 0;
const GETTABLE: u16 = 1;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
const NEWRULE: u16 = 6;
const GETRULE: u16 = 7;
const DELRULE: u16 = 8;

const NFPROTO_UNSPEC: u8 = 0;
/// Both IP families in one table.
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

const VERDICT_REGISTER: u32 = 0;
const ADDRESS_REGISTER: u32 = 1;
const PORT_REGISTER: u32 = 2;

/// What a base chain hooks into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    /// `NF_INET_*`.
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

impl Hook {
    const PRE_ROUTING: u32 = 0;
    const LOCAL_OUT: u32 = 3;
    const POST_ROUTING: u32 = 4;

    /// Before connection tracking.
    pub(crate) const RAW_PREROUTING: Self =
        Self { kind: "filter", number: Self::PRE_ROUTING, priority: -300 };
    pub(crate) const NAT_PREROUTING: Self = Self { kind: "nat", number: Self::PRE_ROUTING, priority: -100 };
    pub(crate) const NAT_OUTPUT: Self = Self { kind: "nat", number: Self::LOCAL_OUT, priority: -100 };
    pub(crate) const NAT_POSTROUTING: Self = Self { kind: "nat", number: Self::POST_ROUTING, priority: 100 };
}

/// A chain with all its rules; a base chain if it has a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Vec<Expr>>,
}

/// Conditions and what is done when all before it hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expr {
    /// The packet's source is inside (address, prefix length); implies the family.
    Source(IpAddr, u8),
    /// As `Source`, for the destination.
    Destination(IpAddr, u8),
    InputInterface(String),
    OutputInterface(String),
    OutputInterfaceNot(String),
    /// The packet is of this family.
    Family(Family),
    /// An IP protocol number and a destination port.
    DestinationPort(u8, u16),
    /// The destination is an address of this host.
    DestinationIsLocal,
    /// The connection's destination was rewritten.
    WasDnat,
    Dnat(IpAddr, u16),
    Masquerade,
    Jump(&'static str),
    Drop,
}

/// An IP family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    fn number(self) -> u8 {
        match self {
            Self::V4 => NFPROTO_IPV4,
            Self::V6 => NFPROTO_IPV6,
        }
    }
}

/// Fails if the kernel has no nf_tables or does not let us use it.
pub(crate) fn probe() -> io::Result<()> {
    Socket::netfilter()?.query(message(GETTABLE, 0, NFPROTO_UNSPEC), true).map(|_| ())
}

/// Makes the table and its chains, and replaces all their rules, all at once.
pub(crate) fn replace(table: &str, chains: &[Chain]) -> io::Result<()> {
    let mut messages = vec![message(NEWTABLE, NLM_F_CREATE, NFPROTO_INET).text(1, table)];
    messages.extend(chains.iter().map(|chain| new_chain(table, chain)));
    // Without a chain's name: all rules of the table.
    messages.push(message(DELRULE, 0, NFPROTO_INET).text(1, table));
    for chain in chains {
        messages.extend(chain.rules.iter().map(|rule| new_rule(table, chain.name, rule)));
    }
    transaction(messages)
}

/// How many rules the table has; none if it is not there.
pub(crate) fn count_rules(table: &str) -> io::Result<usize> {
    let rules = Socket::netfilter()?.query(message(GETRULE, 0, NFPROTO_INET).text(1, table), true)?;
    // Kernels may ignore the name; a body begins with four bytes of `nfgenmsg`.
    let of_table = |rule: &&Vec<u8>| {
        let name = attributes(rule.get(4..).unwrap_or_default()).find(|(kind, _)| *kind == 1);
        name.is_some_and(|(_, name)| name.strip_suffix(&[0]) == Some(table.as_bytes()))
    };
    Ok(rules.iter().filter(of_table).count())
}

/// Removes the table with all that is in it. Gone is fine.
pub(crate) fn remove(table: &str) -> io::Result<()> {
    match transaction(vec![message(DELTABLE, 0, NFPROTO_INET).text(1, table)]) {
        Err(error) if errno(&error) == Some(Errno::NOENT) => Ok(()),
        result => result,
    }
}

fn transaction(messages: Vec<Message>) -> io::Result<()> {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let edge = |kind| Message::new(kind, 0, &[NFPROTO_UNSPEC, 0, high, low]);
    Socket::netfilter()?.batch(edge(BATCH_BEGIN), messages, edge(BATCH_END))
}

fn message(kind: u16, flags: u16, family: u8) -> Message {
    Message::new(SUBSYSTEM << 8 | kind, flags, &[family, 0, 0, 0])
}

fn new_chain(table: &str, chain: &Chain) -> Message {
    let message = message(NEWCHAIN, NLM_F_CREATE, NFPROTO_INET).text(1, table).text(3, chain.name);
    match chain.hook {
        None => message,
        Some(hook) => message
            .nest(4, |m| m.be32(1, hook.number).be32(2, hook.priority.cast_unsigned()))
            .text(7, hook.kind),
    }
}

fn new_rule(table: &str, chain: &str, rule: &[Expr]) -> Message {
    message(NEWRULE, NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET)
        .text(1, table)
        .text(2, chain)
        .nest(4, |list| rule.iter().fold(list, put))
}

/// Appends the expression in the kernel's terms, which are smaller.
fn put(list: Message, expr: &Expr) -> Message {
    match expr {
        Expr::Source(address, prefix) => put_address(list, *address, *prefix, (12, 8)),
        Expr::Destination(address, prefix) => put_address(list, *address, *prefix, (16, 24)),
        Expr::InputInterface(name) => equal(meta(list, META_IIFNAME), &interface(name)),
        Expr::OutputInterface(name) => equal(meta(list, META_OIFNAME), &interface(name)),
        Expr::OutputInterfaceNot(name) => compare(meta(list, META_OIFNAME), NOT_EQUAL, &interface(name)),
        Expr::Family(family) => equal(meta(list, META_NFPROTO), &[family.number()]),
        Expr::DestinationPort(protocol, port) => {
            let list = equal(meta(list, META_L4PROTO), &[*protocol]);
            equal(payload(list, TRANSPORT, 2, 2), &port.to_be_bytes())
        }
        Expr::DestinationIsLocal => {
            let (address_type, of_destination, local) = (3, 2, 2_u32);
            let list = expression(list, "fib", |m| {
                m.be32(1, ADDRESS_REGISTER).be32(2, address_type).be32(3, of_destination)
            });
            equal(list, &local.to_ne_bytes())
        }
        Expr::WasDnat => {
            let (status, dnat) = (2, 0x20_u32);
            let list = expression(list, "ct", |m| m.be32(1, ADDRESS_REGISTER).be32(2, status));
            compare(mask(list, &dnat.to_ne_bytes()), NOT_EQUAL, &[0; 4])
        }
        Expr::Dnat(address, port) => put_dnat(list, *address, *port),
        Expr::Masquerade => expression(list, "masq", |m| m),
        Expr::Jump(chain) => {
            let jump = -3_i32;
            verdict(list, |m| m.be32(1, jump.cast_unsigned()).text(2, chain))
        }
        Expr::Drop => verdict(list, |m| m.be32(1, 0)),
    }
}

const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;

fn put_address(list: Message, address: IpAddr, prefix: u8, offsets: (u32, u32)) -> Message {
    let list = put(list, &Expr::Family(Family::of(address)));
    let (offset, bytes) = match address {
        IpAddr::V4(v4) => (offsets.0, v4.octets().to_vec()),
        IpAddr::V6(v6) => (offsets.1, v6.octets().to_vec()),
    };
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    let list = payload(list, NETWORK, offset, length);
    let bits = usize::from(prefix);
    let netmask: Vec<u8> =
        (0..bytes.len()).map(|i| !(0xff_u16 >> bits.saturating_sub(i * 8).min(8)) as u8).collect();
    let network: Vec<u8> = bytes.iter().zip(&netmask).map(|(byte, mask)| byte & mask).collect();
    let list = if bits == bytes.len() * 8 { list } else { mask(list, &netmask) };
    equal(list, &network)
}

fn put_dnat(list: Message, address: IpAddr, port: u16) -> Message {
    let bytes = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let list = load(list, ADDRESS_REGISTER, &bytes);
    let list = load(list, PORT_REGISTER, &port.to_be_bytes());
    let (dnat, family) = (1, u32::from(Family::of(address).number()));
    expression(list, "nat", |m| {
        m.be32(1, dnat).be32(2, family).be32(3, ADDRESS_REGISTER).be32(5, PORT_REGISTER)
    })
}

fn expression(list: Message, name: &str, data: impl FnOnce(Message) -> Message) -> Message {
    list.nest(1, |element| element.text(1, name).nest(2, data))
}

fn meta(list: Message, key: u32) -> Message {
    expression(list, "meta", |m| m.be32(1, ADDRESS_REGISTER).be32(2, key))
}

fn payload(list: Message, base: u32, offset: u32, length: u32) -> Message {
    expression(list, "payload", |m| m.be32(1, ADDRESS_REGISTER).be32(2, base).be32(3, offset).be32(4, length))
}

fn equal(list: Message, value: &[u8]) -> Message {
    compare(list, EQUAL, value)
}

fn compare(list: Message, operation: u32, value: &[u8]) -> Message {
    expression(list, "cmp", |m| {
        m.be32(1, ADDRESS_REGISTER).be32(2, operation).nest(3, |data| data.bytes(1, value))
    })
}

fn mask(list: Message, mask: &[u8]) -> Message {
    let length = u32::try_from(mask.len()).unwrap_or_default();
    let zeros = vec![0; mask.len()];
    expression(list, "bitwise", |m| {
        m.be32(1, ADDRESS_REGISTER)
            .be32(2, ADDRESS_REGISTER)
            .be32(3, length)
            .nest(4, |data| data.bytes(1, mask))
            .nest(5, |data| data.bytes(1, &zeros))
    })
}

fn load(list: Message, register: u32, value: &[u8]) -> Message {
    expression(list, "immediate", |m| m.be32(1, register).nest(2, |data| data.bytes(1, value)))
}

fn verdict(list: Message, code: impl FnOnce(Message) -> Message) -> Message {
    expression(list, "immediate", |m| m.be32(1, VERDICT_REGISTER).nest(2, |data| data.nest(2, code)))
}

/// An interface's name as the kernel compares it: 16 bytes.
fn interface(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}
