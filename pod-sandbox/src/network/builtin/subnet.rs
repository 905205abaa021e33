//! Subnets of pods, and the addresses in them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The host part that the bridge has.
const GATEWAY: u128 = 1;
/// Host parts beyond this one are left alone: no node has so many pods.
const LAST_V6: u128 = u32::MAX as u128;

/// A range of addresses for pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    network: IpAddr,
    prefix: u8,
}

impl Subnet {
    pub(crate) fn network(self) -> IpAddr {
        self.network
    }

    /// Length of the prefix in bits.
    pub(crate) fn prefix(self) -> u8 {
        self.prefix
    }

    /// The bridge's address: the first.
    pub(crate) fn gateway(self) -> IpAddr {
        self.address(GATEWAY)
    }

    /// Whether a pod may have the address.
    pub(crate) fn has_for_pods(self, address: IpAddr) -> bool {
        self.host(address).is_some_and(|host| host > GATEWAY && host <= self.last())
    }

    /// The first free address after `previous`, beginning again at the end.
    pub(crate) fn next_free(
        self,
        previous: Option<IpAddr>,
        taken: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        let first = GATEWAY + 1;
        let after = previous.and_then(|address| self.host(address)).map_or(first, |host| host + 1);
        let all = (after.max(first)..=self.last()).chain(first..after.min(self.last() + 1));
        all.map(|host| self.address(host)).find(|address| !taken(*address))
    }

    fn last(self) -> u128 {
        match self.network {
            // The very last one is broadcast.
            IpAddr::V4(_) => (1 << (32 - self.prefix)) - 2,
            IpAddr::V6(_) => LAST_V6.min(u128::MAX >> self.prefix),
        }
    }

    fn address(self, host: u128) -> IpAddr {
        match self.network {
            IpAddr::V4(v4) => {
                Ipv4Addr::from_bits(v4.to_bits() + u32::try_from(host).unwrap_or_default()).into()
            }
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() + host).into(),
        }
    }

    fn host(self, address: IpAddr) -> Option<u128> {
        let host = match (self.network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                address.to_bits().checked_sub(network.to_bits())?.into()
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => address.to_bits().checked_sub(network.to_bits())?,
            _ => return None,
        };
        let bits = if address.is_ipv4() { 32 } else { 128 } - u32::from(self.prefix);
        (host.checked_shr(bits).unwrap_or_default() == 0).then_some(host)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (network, prefix) = text.split_once('/').ok_or("has no prefix length")?;
        let network: IpAddr = network.parse().map_err(|_| "is not an address and a prefix length")?;
        let prefix: u8 = prefix.parse().map_err(|_| "is not an address and a prefix length")?;
        let (most, host_bits) = match network {
            IpAddr::V4(v4) => (30, u128::from(v4.to_bits()) << 96),
            IpAddr::V6(v6) => (126, v6.to_bits()),
        };
        if !(1..=most).contains(&prefix) {
            return Err("has no room for a bridge and a pod");
        }
        if host_bits << prefix != 0 {
            return Err("has bits set beyond its prefix length");
        }
        Ok(Self { network, prefix })
    }
}

#[cfg(test)]
mod tests;
