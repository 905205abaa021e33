//! Where the RPCs hand in requests and get URLs, and the server takes requests out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::request::{Kind, Ticket};
use super::tickets::{Tickets, Token, TooMany};

/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Desk {
    tickets: Arc<Mutex<Tickets>>,
    base_url: Arc<str>,
}

impl Desk {
    /// Of a server that listens on `address`.
    pub(super) fn new(address: SocketAddr, tls: bool) -> Self {
        Self { tickets: Arc::default(), base_url: base_url(address, tls).into() }
    }

    /// What all URLs begin with: `http://127.0.0.1:35017`.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// A URL that does what `ticket` says, for the first who opens it within a minute.
    ///
    /// # Errors
    /// [`TooMany`] wait already.
    pub(crate) fn url(&self, ticket: Ticket) -> Result<String, TooMany> {
        let token = Token::new(random());
        let url = format!("{}/{}/{}", self.base_url, ticket.kind().path(), token.as_str());
        self.tickets().insert(token, ticket, Instant::now())?;
        Ok(url)
    }

    /// What was asked for under this path, if it was, as a `kind`, and nobody has taken it yet.
    pub(super) fn take(&self, kind: Kind, token: &str) -> Option<Ticket> {
        let ticket = self.tickets().take(&Token::received(token), Instant::now())?;
        (ticket.kind() == kind).then_some(ticket)
    }

    fn tickets(&self) -> MutexGuard<'_, Tickets> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who listens everywhere is reached by loopback from where the kubelet is, and an unspecified address is none that a
/// certificate could be for.
fn base_url(address: SocketAddr, tls: bool) -> String {
    let reached: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", SocketAddr::new(reached, address.port()))
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // Fails only before the kernel's pool is ready, or when interrupted: both pass.
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags).unwrap_or(0);
    }
    bytes
}

#[cfg(test)]
mod tests;
