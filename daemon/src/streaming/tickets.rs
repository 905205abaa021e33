//! URLs that wait to be opened: each token once, for a while, and not too many of them. Pure: time and tokens come from outside.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::request::Ticket;
use super::room::MOST_OF_ONE;

/// How long a URL waits to be opened (k8s.io/cri-streaming: one minute).
pub(super) const LIFETIME: Duration = Duration::from_secs(60);
/// Most URLs that wait at a time (k8s.io/cri-streaming: the same).
pub(super) const MOST: usize = 1000;

/// Of all that waits, in bytes: a command may be as long as an RPC's message.
const MOST_BYTES: usize = 16 << 20;

const TOKEN_BYTES: usize = 32;

/// What makes a URL impossible to guess. Who has it may run what was asked for, so it has no `Debug` and is never logged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Token(String);

impl Token {
    /// From 256 random bits.
    pub(super) fn new(random: [u8; TOKEN_BYTES]) -> Self {
        Self(URL_SAFE_NO_PAD.encode(random))
    }

    /// Of a URL that a client has opened.
    pub(super) fn received(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// More URLs wait than may.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} were asked for and not opened yet: open one, or wait until they expire ({LIFETIME:?})")]
pub(crate) struct TooMany(String);

/// See the module.
#[derive(Default)]
pub(super) struct Tickets {
    waiting: HashMap<Token, Waiting>,
}

struct Waiting {
    ticket: Ticket,
    since: Instant,
}

impl Waiting {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < LIFETIME
    }
}

impl Tickets {
    /// Keeps `ticket` for who comes with `token`, until [`LIFETIME`] from `now`.
    pub(super) fn insert(&mut self, token: Token, ticket: Ticket, now: Instant) -> Result<(), TooMany> {
        self.waiting.retain(|_, waiting| waiting.is_fresh(now));
        let (what, subject) = ticket.subject();
        let of_one = self.waiting.values().filter(|waiting| waiting.ticket.subject().1 == subject).count();
        let bytes: usize = self.waiting.values().map(|waiting| waiting.ticket.bytes()).sum();
        if self.waiting.len() >= MOST {
            return Err(TooMany(format!("{MOST} streaming URLs")));
        }
        if of_one >= MOST_OF_ONE {
            return Err(TooMany(format!("{MOST_OF_ONE} streaming URLs of {what} {subject}")));
        }
        if bytes + ticket.bytes() > MOST_BYTES {
            return Err(TooMany(format!("streaming URLs for commands of {bytes} bytes")));
        }
        self.waiting.insert(token, Waiting { ticket, since: now });
        Ok(())
    }

    /// The ticket, for the first who asks and in time.
    pub(super) fn take(&mut self, token: &Token, now: Instant) -> Option<Ticket> {
        let waiting = self.waiting.remove(token)?;
        waiting.is_fresh(now).then_some(waiting.ticket)
    }
}

#[cfg(test)]
mod tests;
