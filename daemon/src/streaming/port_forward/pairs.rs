//! Finds the two streams of a connection to each other. Pure: the time is an argument.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// As the kubelet's server has it.
const OPENING: Duration = Duration::from_secs(30);

/// What a stream of a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Data,
    Error,
}

/// Both streams of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair<S> {
    pub(super) port: u16,
    pub(super) data: S,
    pub(super) error: S,
}

/// What came of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Matched<S> {
    Waiting,
    Complete(Pair<S>),
    /// It does not go with what is there: the other stream, if it is the one for errors, and why.
    Contradiction(Option<S>, &'static str),
}

/// Most streams that wait; a client opens both of a connection one after the other.
const MOST_HALVES: usize = 256;

/// Streams whose other one has not come.
pub(super) struct Pairs<S> {
    halves: HashMap<String, Half<S>>,
}

struct Half<S> {
    purpose: Purpose,
    port: u16,
    stream: S,
    until: Instant,
}

impl<S> Pairs<S> {
    pub(super) fn new() -> Self {
        Self { halves: HashMap::new() }
    }

    /// Whether there is room for a stream of `request`.
    pub(super) fn has_room(&self, request: &str) -> bool {
        self.halves.len() < MOST_HALVES || self.halves.contains_key(request)
    }

    /// `request`: what the client calls the connection.
    pub(super) fn add(
        &mut self,
        request: &str,
        purpose: Purpose,
        port: u16,
        stream: S,
        now: Instant,
    ) -> Matched<S> {
        let Some(other) = self.halves.remove(request) else {
            let half = Half { purpose, port, stream, until: now + OPENING };
            self.halves.insert(request.to_owned(), half);
            return Matched::Waiting;
        };
        let why = match (other.purpose == purpose, other.port == port) {
            (true, _) => "a connection has one stream of each type",
            (false, false) => "both streams of a connection have the same port",
            (false, true) => {
                let (data, error) = match purpose {
                    Purpose::Data => (stream, other.stream),
                    Purpose::Error => (other.stream, stream),
                };
                return Matched::Complete(Pair { port, data, error });
            }
        };
        let error = match (purpose, other.purpose) {
            (Purpose::Error, _) => Some(stream),
            (Purpose::Data, Purpose::Error) => Some(other.stream),
            (Purpose::Data, Purpose::Data) => None,
        };
        Matched::Contradiction(error, why)
    }

    /// When a stream has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.halves.values().map(|half| half.until).min()
    }

    /// Takes out what has waited long enough: the streams for errors, and the names of the connections. The others are dropped.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(String, S)> {
        let late = self.halves.extract_if(|_, half| half.until <= now);
        late.filter(|(_, half)| half.purpose == Purpose::Error)
            .map(|(request, half)| (request, half.stream))
            .collect()
    }
}

#[cfg(test)]
mod tests;
