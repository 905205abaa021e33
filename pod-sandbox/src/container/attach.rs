//! Attach.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use linkspan_runtime_oci::AttachStdio;
use linkspan_runtime_oci::monitor::Monitor;
use tokio::net::unix::pipe::Sender;

use super::record::ContainerRecord;
use crate::error::{Error, Refusal};
use crate::find;
use crate::model::{ContainerId, ContainerState, StreamSet};
use crate::pods::{Inner, Pods};
use crate::session::{AttachSession, ProcessEnds, Resizer, SessionEnd, SessionIo};

impl Pods {
    /// Whether a client could attach now: the container's full ID, and whether it has a terminal.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::Refused`] unless it is running.
    pub fn check_attach(&self, id: &str) -> Result<(ContainerId, bool), Error> {
        let (record, _) = attachable(&self.inner, id)?;
        Ok((record.id.clone(), record.config.tty))
    }

    /// Joins a running container's streams (CRI api.proto, Attach). The output is what comes from now on. A client that
    /// does not keep up holds up neither the container nor its log: it is ended with an error, and what it got has no gap.
    /// The only client of a container with `stdin_once` is waited for.
    ///
    /// # Errors
    /// As [`Self::check_attach`]; what the monitor refuses comes from [`AttachSession::end`].
    pub async fn attach(&self, id: &ContainerId, streams: StreamSet) -> Result<AttachSession, Error> {
        let inner = &self.inner;
        let (record, monitor) = attachable(inner, id.as_str())?;
        let attach_id = ContainerId::generate().to_string();
        let tty = record.config.tty;
        // A terminal has one output.
        let streams = StreamSet { stderr: streams.stderr && !tty, ..streams };
        let end = InputEnd::new(inner, &monitor, record.id.clone(), attach_id.clone());
        let (mut io, ProcessEnds { stdin, stdout, stderr }) = SessionIo::pipes(streams, Some(end))?;
        let stdio = AttachStdio { stdin, stdout, stderr };
        if tty {
            io.resizer = Some(Resizer::container(monitor.clone(), record.id.clone()));
        }
        let stdin_once = record.config.stdin_once;
        let future =
            Box::pin(async move { Ok(monitor.attach(record.id.as_str(), &attach_id, stdio).await?) });
        Ok(AttachSession { io, end: SessionEnd { future }, stdin_once })
    }
}

fn attachable(inner: &Inner, id: &str) -> Result<(Arc<ContainerRecord>, Monitor), Error> {
    inner.check_open()?;
    let record = find::container(&inner.table.snapshot(), id)?;
    if !record.is(ContainerState::Running) {
        let state = record.state.for_cri();
        return Err(Error::Refused(Refusal::NotRunning { id: record.id.to_string(), state }));
    }
    let monitor = inner.monitor_of(&record.sandbox_id)?;
    Ok((record, monitor))
}

/// Tells the monitor that a client's input has ended; only then may our end of its pipe be closed, since a pipe that
/// a dying daemon closes must mean nothing.
pub(crate) struct InputEnd {
    inner: Arc<Inner>,
    telling: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl InputEnd {
    fn new(inner: &Arc<Inner>, monitor: &Monitor, container: ContainerId, attach_id: String) -> Self {
        let monitor = monitor.clone();
        let telling = Box::pin(async move {
            // A container that has exited needs no end of input, and a monitor that is lost is noticed by its watch.
            if let Err(error) = monitor.end_stdin(container.as_str(), &attach_id).await {
                tracing::debug!(container_id = %container, %error, "the end of a client's input was not told");
            }
        });
        Self { inner: Arc::clone(inner), telling }
    }

    /// Ready when it has been told. Not to be polled after that.
    pub(crate) fn poll_told(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.telling.as_mut().poll(context)
    }

    /// In the background, for a client that has left. One that is cut off by a daemon that goes down has not.
    pub(crate) fn tell_later(self, pipe: Sender) {
        let Self { inner, telling } = self;
        if inner.closing.is_cancelled() {
            return;
        }
        inner.tasks.spawn(async move {
            telling.await;
            drop(pipe);
        });
    }
}
