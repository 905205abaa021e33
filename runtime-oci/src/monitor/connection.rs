//! The task that owns the socket, and what the handles share with it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkspan_monitor::protocol::{
    self, Answer, Call, ExecCall, ExitRecord, Frame, FromMonitor, Outcome, Reply, Request, RequestId,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::request::Taker;
use super::{Event, Exit, sys};
use crate::Error;
use crate::terminal::Terminal;

/// One connection to one monitor.
#[derive(Debug)]
pub(super) struct Connection {
    calls: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Outgoing {
    call: Call,
    /// Ours to close once sent: an end kept open here would keep a pipe from ending.
    fds: Vec<OwnedFd>,
    pending: Pending,
}

/// Who waits for an answer.
#[derive(Debug)]
struct Pending {
    outcome: oneshot::Sender<Outcome>,
    /// For an exec with a terminal: its ID, and who waits for that.
    terminal: Option<(String, oneshot::Sender<Terminal>)>,
}

#[derive(Debug, Default)]
struct Shared(Mutex<SharedState>);

#[derive(Debug, Default)]
struct SharedState {
    subscribers: Vec<mpsc::UnboundedSender<Event>>,
    exits: BTreeMap<String, Exit>,
    /// Why the connection is over, if it is.
    lost: Option<String>,
    /// We have asked the monitor to end: its end is no loss.
    end_expected: bool,
}

impl Connection {
    pub(super) fn open(socket: OwnedFd) -> Result<Self, Error> {
        let socket = sys::watch(socket, Interest::READABLE | Interest::WRITABLE)
            .map_err(Error::io("watching the monitor's socket"))?;
        let (calls, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::default());
        let task = Task { socket, shared: Arc::clone(&shared), pending: HashMap::new(), last_id: 0 };
        tokio::spawn(task.run(queue));
        Ok(Self { calls, shared })
    }

    /// Sends a call and waits for its answer. `what` names the wait in errors.
    pub(super) async fn call(
        &self,
        what: String,
        call: Call,
        fds: Vec<OwnedFd>,
        deadline: Option<Duration>,
    ) -> Result<Answer, Error> {
        let (outcome, answered) = oneshot::channel();
        let outgoing = Outgoing { call, fds, pending: Pending { outcome, terminal: None } };
        self.wait(what, outgoing, answered, deadline).await
    }

    /// The same, for an exec. Its terminal comes before the answer.
    pub(super) async fn exec(
        &self,
        what: String,
        call: ExecCall,
        fds: Vec<OwnedFd>,
        terminal: Taker,
        deadline: Option<Duration>,
    ) -> Result<Answer, Error> {
        let (outcome, answered) = oneshot::channel();
        let terminal = terminal.map(|terminal| (call.exec_id.clone(), terminal));
        let outgoing = Outgoing { call: Call::Exec(call), fds, pending: Pending { outcome, terminal } };
        self.wait(what, outgoing, answered, deadline).await
    }

    async fn wait(
        &self,
        what: String,
        outgoing: Outgoing,
        answered: oneshot::Receiver<Outcome>,
        deadline: Option<Duration>,
    ) -> Result<Answer, Error> {
        let sent = self.calls.send(outgoing).is_ok();
        let answered = async { if sent { answered.await.ok() } else { None } };
        let outcome = match deadline {
            None => answered.await,
            Some(after) => match tokio::time::timeout(after, answered).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(Error::TimedOut { what, after }),
            },
        };
        match outcome {
            Some(Outcome::Ok(answer)) => Ok(answer),
            Some(Outcome::Err(failure)) => {
                Err(Error::MonitorRefused { what, kind: failure.kind, message: failure.message })
            }
            None => {
                let reason =
                    self.shared.lock().lost.clone().unwrap_or_else(|| "connection closed".to_owned());
                Err(Error::MonitorLost { what, reason })
            }
        }
    }

    pub(super) fn subscribe(&self) -> mpsc::UnboundedReceiver<Event> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.shared.lock();
        for (container_id, exit) in &state.exits {
            let _ = sender.send(Event::Exited { container_id: container_id.clone(), exit: *exit });
        }
        if state.lost.is_some() && !state.end_expected {
            let _ = sender.send(Event::Lost);
        } else {
            state.subscribers.push(sender);
        }
        receiver
    }

    pub(super) fn learn_exits(&self, records: &[ExitRecord]) {
        let mut state = self.shared.lock();
        for record in records {
            state.exits.insert(record.container_id.clone(), Exit::from(record));
        }
    }

    pub(super) fn forget_exit(&self, container_id: &str) {
        self.shared.lock().exits.remove(container_id);
    }

    pub(super) fn expect_the_end(&self) {
        self.shared.lock().end_expected = true;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, SharedState> {
        // Nothing in here is left half done by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: &Event) {
        let mut state = self.lock();
        if let Event::Exited { container_id, exit } = event {
            state.exits.insert(container_id.clone(), *exit);
        }
        state.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    fn lose(&self, reason: &str) {
        let mut state = self.lock();
        state.lost = Some(reason.to_owned());
        let subscribers = std::mem::take(&mut state.subscribers);
        if !state.end_expected {
            for subscriber in subscribers {
                let _ = subscriber.send(Event::Lost);
            }
        }
    }
}

struct Task {
    socket: AsyncFd<OwnedFd>,
    shared: Arc<Shared>,
    pending: HashMap<RequestId, Pending>,
    last_id: RequestId,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Outgoing>) {
        let reason = loop {
            tokio::select! {
                frame = receive(&self.socket) => match frame {
                    Ok(Some(frame)) => self.dispatch(frame),
                    Ok(None) => break "it closed the connection".to_owned(),
                    Err(e) => break e.to_string(),
                },
                outgoing = queue.recv() => match outgoing {
                    // All handles are gone: nobody can ask for anything any more.
                    None => return,
                    Some(outgoing) => if let Err(e) = self.send(outgoing).await {
                        break e.to_string();
                    }
                },
            }
        };
        debug!(%reason, "monitor's connection is over");
        self.shared.lose(&reason);
        queue.close();
        // `pending` and what is queued drop here: each caller learns that the monitor is gone.
    }

    async fn send(&mut self, outgoing: Outgoing) -> io::Result<()> {
        self.last_id += 1;
        let id = self.last_id;
        let json = serde_json::to_vec(&Request { id, call: outgoing.call })?;
        let fds: Vec<_> = outgoing.fds.iter().map(AsFd::as_fd).collect();
        self.pending.insert(id, outgoing.pending);
        let sent = loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| protocol::send(socket.as_fd(), &json, &fds)) {
                Ok(result) => break result,
                Err(_would_block) => {}
            }
        };
        match sent {
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                // Only this call is too long; the connection is sound.
                self.answer(id, Outcome::Err(too_long(&e)));
                Ok(())
            }
            result => result,
        }
    }

    fn dispatch(&mut self, frame: Frame) {
        match serde_json::from_slice(&frame.json) {
            Ok(FromMonitor::Reply(Reply { id, outcome })) => self.answer(id, outcome),
            Ok(FromMonitor::Event(protocol::Event::Exited(record))) => {
                let exit = Exit::from(&record);
                self.shared.tell(&Event::Exited { container_id: record.container_id, exit });
            }
            Ok(FromMonitor::Event(protocol::Event::Oom { container_id })) => {
                self.shared.tell(&Event::Oom { container_id });
            }
            Ok(FromMonitor::Event(protocol::Event::ExecTerminal { exec_id })) => {
                self.hand_over(&exec_id, frame.fds);
            }
            Ok(FromMonitor::Event(protocol::Event::Unknown)) => {}
            Err(error) => warn!(%error, "a frame from the monitor that is not understood"),
        }
    }

    /// A terminal that nobody waits for any more is closed, which hangs up its process.
    fn hand_over(&mut self, exec_id: &str, fds: Vec<OwnedFd>) {
        let is_its = |pending: &&mut Pending| pending.terminal.as_ref().is_some_and(|(id, _)| id == exec_id);
        let taker = self.pending.values_mut().find(is_its).and_then(|pending| pending.terminal.take());
        let (Some((_, taker)), Some(fd)) = (taker, fds.into_iter().next()) else { return };
        match Terminal::from_fd(fd) {
            Ok(terminal) => drop(taker.send(terminal)),
            Err(error) => warn!(exec_id, %error, "an exec's terminal cannot be watched"),
        }
    }

    fn answer(&mut self, id: RequestId, outcome: Outcome) {
        if let Some(caller) = self.pending.remove(&id) {
            // The caller may have given up.
            let _ = caller.outcome.send(outcome);
        }
    }
}

fn too_long(error: &io::Error) -> protocol::Failure {
    protocol::Failure { kind: protocol::FailureKind::Io, message: format!("sending the call: {error}") }
}

/// Cancel safe: a frame is either taken whole or left in the socket.
async fn receive(socket: &AsyncFd<OwnedFd>) -> io::Result<Option<Frame>> {
    loop {
        let mut ready = socket.readable().await?;
        match ready.try_io(|socket| protocol::receive(socket.as_fd())) {
            Ok(frame) => return frame,
            Err(_would_block) => {}
        }
    }
}
