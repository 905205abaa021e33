//! Which proxy a request goes through: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, also in lower case, as Go's tools
//! read them (golang.org/x/net/http/httpproxy), since nodes are set up for those. `ALL_PROXY` is none of theirs.

use std::net::IpAddr;

use reqwest::Url;

use super::hosts::host_of;

/// What the environment says of proxies. It may hold passwords: never shown as a whole.
#[derive(Default)]
pub(crate) struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    direct: Vec<Direct>,
}

/// An entry of `NO_PROXY`. An empty `port` is any.
#[derive(Debug, PartialEq, Eq)]
enum Direct {
    All,
    Network {
        address: IpAddr,
        bits: u32,
    },
    Address {
        address: IpAddr,
        port: String,
    },
    /// `suffix` begins with a dot; the name without it is meant too if `itself`.
    Domain {
        suffix: String,
        itself: bool,
        port: String,
    },
}

impl Proxies {
    pub(crate) fn from_environment() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    pub(crate) fn new(variable: impl Fn(&str) -> Option<String>) -> Self {
        let either = |name: &str| {
            let upper = variable(name).filter(|value| !value.is_empty());
            upper.or_else(|| variable(&name.to_lowercase())).unwrap_or_default()
        };
        let proxy = |name: &str| {
            let value = either(name);
            let proxy = proxy(&value);
            if proxy.is_none() && !value.trim().is_empty() {
                // Its value may be half a password.
                tracing::warn!(variable = name, "no address of a proxy (http, https, socks5): not used");
            }
            proxy
        };
        Self { http: proxy("HTTP_PROXY"), https: proxy("HTTPS_PROXY"), direct: direct(&either("NO_PROXY")) }
    }

    /// The proxy for `url`, with user and password if it needs them; `None`: directly.
    pub(crate) fn of(&self, url: &Url) -> Option<&Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        };
        proxy.filter(|_| !self.is_direct(url))
    }

    /// `through the proxy host:port`, for errors.
    pub(crate) fn told(&self, url: &Url) -> Option<String> {
        let proxy = self.of(url)?;
        Some(format!("through the proxy {}://{}", proxy.scheme(), host_of(proxy)))
    }

    fn is_direct(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return true };
        let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let address = address.map(|address| address.to_canonical());
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
            return true;
        }
        let port = url.port_or_known_default().map(|port| port.to_string()).unwrap_or_default();
        self.direct.iter().any(|entry| entry.matches(host, address, &port))
    }
}

impl Direct {
    fn matches(&self, host: &str, address: Option<IpAddr>, asked: &str) -> bool {
        let at = |port: &str| port.is_empty() || port == asked;
        match (self, address) {
            (Self::All, _) => true,
            (Self::Network { address: network, bits }, Some(address)) => {
                first_bits(*network, *bits) == first_bits(address, *bits)
            }
            (Self::Address { address: entry, port }, Some(address)) => *entry == address && at(port),
            (Self::Domain { suffix, itself, port }, None) => {
                (host.ends_with(suffix.as_str()) || (*itself && host == &suffix[1..])) && at(port)
            }
            (Self::Network { .. } | Self::Address { .. }, None) | (Self::Domain { .. }, Some(_)) => false,
        }
    }
}

/// Also tells the families apart.
fn first_bits(address: IpAddr, bits: u32) -> (bool, u128) {
    let (is_v4, value, width) = match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (false, address.to_bits(), 128),
    };
    (is_v4, value.checked_shr(width - bits.min(width)).unwrap_or(0))
}

/// `http://proxy:3128`, or the same without a scheme.
fn proxy(value: &str) -> Option<Url> {
    let has_host = |url: &Url| url.host_str().is_some_and(|host| !host.is_empty());
    let parsed = Url::parse(value).ok().filter(has_host);
    let url = match parsed {
        // With a scheme, it is no host without one.
        None if value.is_empty() || value.contains("://") => return None,
        None => Url::parse(&format!("http://{value}")).ok().filter(has_host)?,
        Some(url) => url,
    };
    match url.scheme() {
        "http" | "https" | "socks5h" => Some(url),
        // Go leaves the look-up of names to the proxy; our client does so by this name.
        "socks5" => Url::parse(&format!("socks5h{}", url.as_str().strip_prefix("socks5")?)).ok(),
        _ => None,
    }
}

fn direct(list: &str) -> Vec<Direct> {
    let mut entries = Vec::new();
    for text in list.split(',').map(|text| text.trim().to_lowercase()) {
        if text == "*" {
            return vec![Direct::All];
        }
        entries.extend(entry(&text));
    }
    entries
}

fn entry(text: &str) -> Option<Direct> {
    if let Some((address, bits)) = text.split_once('/')
        && let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse())
    {
        return (bits <= width(address)).then_some(Direct::Network { address, bits });
    }
    let (host, port) = split_port(text);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(Direct::Address { address: address.to_canonical(), port: port.to_owned() });
    }
    let name = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let (itself, name) = name.strip_prefix('.').map_or((true, name), |name| (false, name));
    if name.is_empty() && itself {
        return None;
    }
    Some(Direct::Domain { suffix: format!(".{}", ascii(name)), itself, port: port.to_owned() })
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `host:port` and `[IPv6]:port`; all else, a bare IPv6 address for one, is a host.
fn split_port(text: &str) -> (&str, &str) {
    if let Some((host, port)) = text.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        return (host, port);
    }
    text.split_once(':').filter(|(_, port)| !port.contains(':')).unwrap_or((text, ""))
}

/// As names stand in addresses.
fn ascii(name: &str) -> String {
    let address = (!name.is_ascii()).then(|| Url::parse(&format!("http://{name}/")).ok()).flatten();
    address.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests;
