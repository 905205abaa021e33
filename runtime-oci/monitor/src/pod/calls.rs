//! From a frame to what it asks for.

use std::os::fd::OwnedFd;
use std::time::Duration;

use linkspan_monitor::protocol::{
    self, Answer, Call, ContainerState, Failure, FailureKind, HelloAnswer, HelloCall, Process, Request,
    RequestId,
};
use serde::Deserialize;

use super::create::{Container, Phase};
use super::{Caller, Pod};
use crate::note::note;
use crate::poll::Key;
use crate::runtime_call::failure;

/// Frames of one turn of the loop: the containers' output must not wait for a talkative daemon.
const FRAMES_PER_TURN: usize = 16;

impl Pod {
    pub(super) fn serve(&mut self, key: Key) {
        for _ in 0..FRAMES_PER_TURN {
            let Some(connection) = self.connections.get_mut(&key) else { return };
            let frame = connection.flush().and_then(|()| connection.receive());
            match frame {
                Ok(Some(frame)) => self.take_frame(key, &frame.json, frame.fds),
                Ok(None) => return,
                Err(_) => {
                    self.drop_connection(key);
                    return;
                }
            }
        }
    }

    fn take_frame(&mut self, key: Key, json: &[u8], fds: Vec<OwnedFd>) {
        /// What a call that we do not know still has.
        #[derive(Deserialize)]
        struct Head {
            id: RequestId,
        }
        match serde_json::from_slice::<Request>(json) {
            Ok(request) => self.take_call(Caller { connection: key, id: request.id }, request.call, fds),
            Err(e) => match serde_json::from_slice::<Head>(json) {
                Ok(head) => {
                    let caller = Caller { connection: key, id: head.id };
                    let message = format!("not understood by protocol version {}: {e}", protocol::VERSION);
                    self.reply(caller, Err(failure(FailureKind::UnknownCall, message)));
                }
                Err(_) => {
                    note(&format!("a frame that is no call: {e}"));
                    self.drop_connection(key);
                }
            },
        }
    }

    /// Answers at once, or hands the caller over to what will.
    fn take_call(&mut self, caller: Caller, call: Call, fds: Vec<OwnedFd>) {
        let is_greeted =
            self.connections.get(&caller.connection).is_some_and(|connection| connection.greeted);
        let outcome = match call {
            Call::Hello(hello) => self.hello(caller, &hello),
            _ if !is_greeted => Err(failure(FailureKind::Version, "hello comes first".to_owned())),
            _ if self.shutdown.is_some() => {
                Err(failure(FailureKind::ShuttingDown, "the monitor is shutting down".to_owned()))
            }
            Call::StartPause(call) => self.start_pause(&call).map(Answer::Started),
            Call::Create(call) => match self.create(caller, &call) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Call::Exec(call) => match self.exec(caller, &call, fds) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Call::HangUpExec { exec_id, grace_ms } => {
                self.hang_up_named(&exec_id, Duration::from_millis(grace_ms));
                Ok(Answer::Done)
            }
            Call::Attach(call) => match self.attach(caller, &call, fds) {
                Ok(()) => return,
                Err(failure) => Err(failure),
            },
            Call::EndStdin { container_id, attach_id } => {
                self.end_stdin(&container_id, &attach_id);
                Ok(Answer::Done)
            }
            Call::Resize { container_id, columns, rows } => self.resize(&container_id, columns, rows),
            Call::ReopenLog { container_id } => match self.reopen_log(caller, &container_id) {
                Ok(true) => return,
                Ok(false) => Ok(Answer::Done),
                Err(failure) => Err(failure),
            },
            Call::Forget { container_id } => self.forget(&container_id),
            Call::Shutdown => return self.shut_down(caller),
        };
        self.reply(caller, outcome);
    }

    fn hello(&mut self, caller: Caller, call: &HelloCall) -> Result<Answer, Failure> {
        let version = call.version.min(protocol::VERSION);
        if version < call.oldest_version || version < protocol::OLDEST_VERSION {
            let message = format!(
                "the monitor speaks protocol versions {} to {}, the daemon {} to {}",
                protocol::OLDEST_VERSION,
                protocol::VERSION,
                call.oldest_version,
                call.version
            );
            return Err(failure(FailureKind::Version, message));
        }
        if let Some(connection) = self.connections.get_mut(&caller.connection) {
            connection.greeted = true;
        }
        if let Some(before) = self.daemon.replace(caller.connection)
            && before != caller.connection
        {
            self.drop_connection(before);
        }
        let monitor = Process::this()
            .map_err(|e| failure(FailureKind::Io, format!("looking at the monitor itself: {e}")))?;
        Ok(Answer::Hello(HelloAnswer {
            version,
            monitor,
            sandbox_id: self.args.sandbox_id.clone(),
            pause: self.pause.as_ref().map(|pause| pause.process),
            containers: self.containers.values().map(ContainerState::from).collect(),
            exits: self.exits.values().cloned().collect(),
            execs: self.execs.values().filter(|e| e.is_active()).map(|e| e.exec_id.clone()).collect(),
        }))
    }

    pub(super) fn running(&mut self, container_id: &str) -> Result<(Key, &mut Container), Failure> {
        let found = self.containers.iter_mut().find(|(_, c)| c.container_id == container_id);
        match found {
            None => Err(no_such_container(container_id)),
            Some((_, container)) if !matches!(container.phase, Phase::Running { .. }) => {
                Err(failure(FailureKind::NotRunning, format!("container {container_id} is not running")))
            }
            Some((key, container)) => Ok((*key, container)),
        }
    }

    /// Whether the answer comes from the thread of the logs.
    fn reopen_log(&mut self, caller: Caller, container_id: &str) -> Result<bool, Failure> {
        let Some(container) = self.containers.values().find(|c| c.container_id == container_id) else {
            return Err(no_such_container(container_id));
        };
        if container.has_exited() {
            let message = format!("container {container_id} has exited");
            return Err(failure(FailureKind::NotRunning, message));
        }
        Ok(container.log.reopen(caller))
    }

    fn forget(&mut self, container_id: &str) -> Result<Answer, Failure> {
        let found = self.containers.iter().find(|(_, container)| container.container_id == container_id);
        if let Some(key) = found.map(|(key, _)| *key) {
            // Whoever killed it comes here at once, and in the same turn as its end.
            self.init_ended(key);
            self.record_exit(key);
            // Nobody will want what is still being made: not even its deadline is waited for.
            self.fail_create(key, failure(FailureKind::Other, "it was to be forgotten".to_owned()));
            if !self.containers.get(&key).is_some_and(Container::has_exited) {
                let message = format!("container {container_id} still runs");
                return Err(failure(FailureKind::AlreadyExists, message));
            }
            self.end_clients(key);
            if let Some(mut container) = self.containers.remove(&key) {
                container.log.finish(super::now_ns());
            }
        }
        self.exits.remove(container_id);
        protocol::remove_exit(&self.args.pod_dir, container_id).map_err(|e| {
            failure(FailureKind::Io, format!("removing the exit record of {container_id}: {e}"))
        })?;
        Ok(Answer::Done)
    }
}

pub(super) fn no_such_container(container_id: &str) -> Failure {
    failure(FailureKind::NoSuchContainer, format!("no container {container_id}"))
}
