//! Who may open sessions and connections: so many in all, and so many of them for one container or pod, so that whoever
//! may exec into one pod leaves room for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linkspan_child::open_files;

use super::budget::Pool;
use super::request::Ticket;

/// Most sessions at a time; one more is refused.
const MOST_SESSIONS: usize = 1000;
/// Of one container (exec, attach) or pod (port-forward); also URLs of it that wait to be opened.
pub(super) const MOST_OF_ONE: usize = 64;
/// Connections into pods: each is a descriptor.
const MOST_CONNECTIONS: usize = 8192;
const MOST_CONNECTIONS_OF_ONE: usize = 1024;
/// What a session holds of descriptors: its connection, three pipes or a terminal, and one while it begins.
const DESCRIPTORS_OF_SESSION: u64 = 5;

/// Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    most_sessions: usize,
    most_connections: usize,
    pool: Pool,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: Count,
    /// By the ID of the container or pod; those that have none are not there.
    each: HashMap<String, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    sessions: usize,
    connections: usize,
}

/// Why there is no room for a session or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error("too many streaming sessions are open ({0})")]
    Sessions(usize),
    #[error("too many streaming sessions of this {0} are open ({MOST_OF_ONE})")]
    SessionsOfOne(&'static str),
    #[error("too many forwarded connections are open ({0})")]
    Connections(usize),
    #[error("too many forwarded connections of this pod are open ({MOST_CONNECTIONS_OF_ONE})")]
    ConnectionsOfOne,
}

impl Room {
    /// As large as the limit of open files allows: a quarter of it for sessions, a quarter for connections into pods.
    pub(super) fn new() -> Self {
        let quarter = open_files::limit().soft / 4;
        let at_most = |most: usize, count: u64| most.min(usize::try_from(count).unwrap_or(most));
        Self::of(at_most(MOST_SESSIONS, quarter / DESCRIPTORS_OF_SESSION), at_most(MOST_CONNECTIONS, quarter))
    }

    pub(super) fn of(most_sessions: usize, most_connections: usize) -> Self {
        Self { most_sessions, most_connections, pool: Pool::new(), counts: Arc::default() }
    }

    /// For the session of `ticket`.
    pub(super) fn place(&self, ticket: &Ticket) -> Result<Place, NoRoom> {
        let (what, subject) = ticket.subject();
        let mut counts = self.counts();
        if counts.all.sessions >= self.most_sessions {
            return Err(NoRoom::Sessions(self.most_sessions));
        }
        if counts.of(subject).sessions >= MOST_OF_ONE {
            return Err(NoRoom::SessionsOfOne(what));
        }
        counts.change(subject, |count| count.sessions += 1);
        drop(counts);
        Ok(Place { room: self.clone(), subject: subject.to_owned() })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    fn of(&self, subject: &str) -> Count {
        self.each.get(subject).copied().unwrap_or_default()
    }

    fn change(&mut self, subject: &str, change: impl Fn(&mut Count)) {
        change(&mut self.all);
        let mut count = self.of(subject);
        change(&mut count);
        if count.sessions == 0 && count.connections == 0 {
            self.each.remove(subject);
        } else {
            self.each.insert(subject.to_owned(), count);
        }
    }
}

/// A session's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    room: Room,
    subject: String,
}

impl Place {
    /// What the session may borrow from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.room.pool
    }

    /// For one more connection into the pod.
    pub(crate) fn connection(self: &Arc<Self>) -> Result<Connection, NoRoom> {
        let mut counts = self.room.counts();
        if counts.all.connections >= self.room.most_connections {
            return Err(NoRoom::Connections(self.room.most_connections));
        }
        if counts.of(&self.subject).connections >= MOST_CONNECTIONS_OF_ONE {
            return Err(NoRoom::ConnectionsOfOne);
        }
        counts.change(&self.subject, |count| count.connections += 1);
        Ok(Connection(self.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.counts().change(&self.subject, |count| count.sessions -= 1);
    }
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection(Arc<Place>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.room.counts().change(&self.0.subject, |count| count.connections -= 1);
    }
}

#[cfg(test)]
mod tests;
