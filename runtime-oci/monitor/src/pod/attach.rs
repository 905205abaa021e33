//! Clients that are attached to a container: its output from then on, and its stdin.
//!
//! The log comes first, and no client holds up another: one that reads too slowly is ended with the number of bytes that
//! it has missed, one that is gone is let go. A container with `stdin_once` that has one client is that client's own
//! (`kubectl run -i`): it waits in its pipes until its output is read. A client's call is answered when it has had all of
//! the container's output, or nobody holds the other ends of its descriptors any more.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use linkspan_monitor::protocol::{Answer, AttachCall, Failure, FailureKind};
use rustix::termios::{Winsize, tcsetwinsize};

use super::create::Container;
use super::stdin::Inlet;
use super::{Caller, Pod};
use crate::log::Stream;
use crate::outlet::{Offered, Outlet};
use crate::poll::{Key, Kind, Poll, Source};
use crate::runtime_call::failure;

/// Clients of one pod at a time: each has three descriptors, and those that no longer fit would cost the connection.
const MAX_CLIENTS: usize = 128;
/// How long a client may take no more of what is left to it after the output of its container has ended.
const LAST_READS: Duration = Duration::from_secs(10);

pub(super) struct Client {
    pub(super) key: Key,
    attach_id: String,
    /// None once answered, while its input is not yet delivered.
    caller: Option<Caller>,
    outlets: [Option<Outlet>; 2],
    /// It was too slow for so many bytes: it gets no more.
    missed_bytes: usize,
    pub(super) inlet: Option<Inlet>,
}

impl Client {
    fn hears(&self) -> bool {
        self.outlets.iter().any(Option::is_some)
    }

    fn hear(&mut self, stream: Stream, chunk: &[u8], patient: bool) {
        let Some(outlet) = &mut self.outlets[stream as usize] else { return };
        match outlet.offer(chunk, patient) {
            Offered::Taken => {}
            Offered::Left => self.outlets[stream as usize] = None,
            Offered::Missed(bytes) => {
                self.missed_bytes = bytes;
                self.outlets = [None, None];
            }
        }
    }

    /// With all that is not delivered.
    fn outcome(&self) -> Result<Answer, Failure> {
        let waiting: usize = self.outlets.iter().flatten().map(Outlet::waiting_bytes).sum();
        match self.missed_bytes + waiting {
            0 => Ok(Answer::Done),
            missed => {
                let message = format!(
                    "the client reads too slowly: {missed} bytes of output and all after them are missing"
                );
                Err(failure(FailureKind::TooSlow, message))
            }
        }
    }
}

impl Pod {
    /// The caller is answered when it is over.
    pub(super) fn attach(
        &mut self,
        caller: Caller,
        call: &AttachCall,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        if self.containers.values().map(|container| container.clients.len()).sum::<usize>() >= MAX_CLIENTS {
            let message = format!("{MAX_CLIENTS} clients are attached to containers of this pod");
            return Err(failure(FailureKind::Io, message));
        }
        let key = self.new_key();
        let poll = self.poll.clone();
        let (container_key, container) = self.running(&call.container_id)?;
        if container.clients.iter().any(|client| client.attach_id == call.attach_id) {
            let message = format!("client {} is attached", call.attach_id);
            return Err(failure(FailureKind::AlreadyExists, message));
        }
        let client = container
            .client(key, caller, call, fds, &poll)
            .map_err(|e| failure(FailureKind::Io, format!("watching a client's pipe: {e}")))?;
        container.clients.push(client);
        self.settle_clients(container_key);
        Ok(())
    }

    /// One that is unknown has been answered already.
    pub(super) fn end_stdin(&mut self, container_id: &str, attach_id: &str) {
        let found = self.containers.iter_mut().find(|(_, c)| c.container_id == container_id);
        let Some((key, container)) = found else { return };
        let client = container.clients.iter_mut().find(|client| client.attach_id == attach_id);
        if let Some(inlet) = client.and_then(|client| client.inlet.as_mut()) {
            inlet.end();
            let key = *key;
            self.feed_stdin(key);
        }
    }

    pub(super) fn resize(&mut self, container_id: &str, columns: u16, rows: u16) -> Result<Answer, Failure> {
        let (_, container) = self.running(container_id)?;
        let Some(terminal) = container.terminal() else {
            let message = format!("container {container_id} has no terminal");
            return Err(failure(FailureKind::BadRequest, message));
        };
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(terminal, size)
            .map_err(|e| failure(FailureKind::Io, format!("resizing the terminal of {container_id}: {e}")))?;
        Ok(Answer::Done)
    }

    pub(super) fn read_client(&mut self, client: Key) {
        if let Some(key) = self.container_of(client) {
            self.feed_stdin(key);
        }
    }

    pub(super) fn write_client(&mut self, client: Key, stream: Stream) {
        let Some(key) = self.container_of(client) else { return };
        let clients = self.containers.get_mut(&key).map(|container| &mut container.clients);
        let client = clients.and_then(|clients| clients.iter_mut().find(|other| other.key == client));
        if let Some(client) = client {
            client.outlets[stream as usize].take_if(|outlet| !outlet.advance());
        }
        if let Some(container) = self.containers.get_mut(&key)
            && container.last_reads.is_some()
        {
            container.await_last_reads();
        }
        self.settle_clients(key);
    }

    fn container_of(&self, client: Key) -> Option<Key> {
        let has = |container: &Container| container.clients.iter().any(|other| other.key == client);
        self.containers.iter().find(|(_, container)| has(container)).map(|(key, _)| *key)
    }

    /// Answers those that are over, and lets go of what is of no more use.
    pub(super) fn settle_clients(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let over = container.settle_clients();
        container.read_again();
        for (caller, outcome) in over {
            self.reply(caller, outcome);
        }
    }

    /// Lets go of all clients of a container, whatever they have still to read.
    pub(super) fn end_clients(&mut self, key: Key) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        container.last_reads = None;
        for client in std::mem::take(&mut container.clients) {
            if let Some(caller) = client.caller {
                self.reply(caller, client.outcome());
            }
        }
    }

    /// Their connection is gone; nothing of a container changes by that.
    pub(super) fn detach_clients_of(&mut self, connection: Key) {
        let is_left = |caller: Caller| caller.connection == connection;
        for container in self.containers.values_mut() {
            container.clients.retain(|client| !client.caller.is_some_and(is_left));
            container.read_again();
        }
    }
}

impl Container {
    fn client(
        &self,
        key: Key,
        caller: Caller,
        call: &AttachCall,
        fds: Vec<OwnedFd>,
        poll: &Poll,
    ) -> std::io::Result<Client> {
        let mut given = fds.into_iter();
        let mut next = |is_passed: bool| if is_passed { given.next() } else { None };
        let (stdin, stdout, stderr) = (next(call.has_stdin), next(call.has_stdout), next(call.has_stderr));
        let inlet = |fd| Inlet::new(fd, Source::new(Kind::ClientStdin, key), poll);
        let outlet = |fd, kind| Outlet::new(fd, Source::new(kind, key), poll);
        Ok(Client {
            key,
            attach_id: call.attach_id.clone(),
            caller: Some(caller),
            outlets: [
                stdout.map(|fd| outlet(fd, Kind::ClientStdout)).transpose()?,
                stderr.map(|fd| outlet(fd, Kind::ClientStderr)).transpose()?,
            ],
            missed_bytes: 0,
            // Without a stdin nobody would ever read it: the client's next write fails.
            inlet: stdin.filter(|_| self.stdin.is_open()).map(inlet).transpose()?,
        })
    }

    /// After the log: what the container has said goes to all clients.
    pub(super) fn tell_clients(&mut self, stream: Stream, chunk: &[u8]) {
        let patient = self.own_client().is_some();
        for client in &mut self.clients {
            client.hear(stream, chunk, patient);
        }
    }

    /// The one at whose pace it runs.
    fn own_client(&self) -> Option<&Client> {
        let mut hearing = self.clients.iter().filter(|client| client.hears());
        match (hearing.next(), hearing.next()) {
            (Some(client), None) if self.has_stdin_once => Some(client),
            _ => None,
        }
    }

    /// Whether it is to wait until its client has read what came before.
    pub(super) fn awaits_its_client(&self, stream: Stream) -> bool {
        let outlet = self.own_client().and_then(|client| client.outlets[stream as usize].as_ref());
        outlet.is_some_and(|outlet| !outlet.is_delivered())
    }

    /// The container's output has ended: clients may read what they have not read yet, for a while.
    pub(super) fn await_last_reads(&mut self) {
        let waits = self.clients.iter().flat_map(|c| &c.outlets).flatten().any(|o| !o.is_delivered());
        self.last_reads = waits.then(|| Instant::now() + LAST_READS);
    }

    /// Returns those whose calls are over, and how.
    fn settle_clients(&mut self) -> Vec<(Caller, Result<Answer, Failure>)> {
        let mut over = Vec::new();
        let has_ended = self.streams.iter().map(Option::is_none).collect::<Vec<_>>();
        let is_silent = has_ended.iter().all(|ended| *ended);
        for client in &mut self.clients {
            for (outlet, ended) in client.outlets.iter_mut().zip(&has_ended) {
                outlet.take_if(|outlet| *ended && outlet.is_delivered());
            }
            let speaks = !is_silent && client.inlet.as_ref().is_some_and(|inlet| !inlet.is_left());
            if client.missed_bytes > 0 || !(client.hears() || speaks) {
                over.extend(client.caller.take().map(|caller| (caller, client.outcome())));
            }
        }
        self.clients.retain(|client| client.caller.is_some() || client.inlet.is_some());
        over
    }
}
