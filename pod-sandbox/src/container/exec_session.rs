//! Exec.

use std::sync::Arc;
use std::time::Duration;

use linkspan_runtime_oci::monitor::Monitor;
use linkspan_runtime_oci::{ExecRequest, ExecStdio};
use tokio::sync::oneshot;

use super::exec::{Scratch, executable, prepare};
use crate::error::{Error, Refusal};
use crate::model::{ContainerId, StreamSet};
use crate::pods::{Inner, Pods};
use crate::session::{ExecSession, ProcessEnds, SessionEnd, SessionIo};

/// Between the hang-up of a process whose client has left, and its death.
const HANG_UP_GRACE: Duration = Duration::from_secs(10);

impl Pods {
    /// Whether `command` could be run now: the container's full ID.
    ///
    /// # Errors
    /// As [`Self::exec_sync`].
    pub fn check_exec(&self, id: &str, command: &[String]) -> Result<ContainerId, Error> {
        executable(&self.inner, id, command).map(|(record, _)| record.id.clone())
    }

    /// Runs a command in a created or running container, joined to the streams that are asked for (CRI api.proto, Exec);
    /// the others are `/dev/null`. It ends with the daemon: somebody at a keyboard cannot come back to it.
    ///
    /// # Errors
    /// As [`Self::exec_sync`]; that the process could not be started comes from [`ExecSession::end`], or from here
    /// with a terminal.
    pub async fn exec(
        &self,
        id: &ContainerId,
        command: Vec<String>,
        streams: StreamSet,
    ) -> Result<ExecSession, Error> {
        let inner = &self.inner;
        let (record, monitor) = executable(inner, id.as_str(), &command)?;
        let (request, scratch) = prepare(inner, &record, command, streams.tty).await?;
        let request = ExecRequest { ends_with_caller: true, ..request };
        let run = Run { inner: Arc::clone(inner), monitor, request, scratch };
        if streams.tty { run.on_terminal(streams).await } else { run.on_pipes(streams) }
    }
}

/// An exec that is ready to be asked for.
struct Run {
    inner: Arc<Inner>,
    monitor: Monitor,
    request: ExecRequest,
    scratch: Scratch,
}

impl Run {
    fn on_pipes(self, streams: StreamSet) -> Result<ExecSession, Error> {
        let (io, ProcessEnds { stdin, stdout, stderr }) = SessionIo::pipes(streams, None)?;
        let (end, hung_up) = self.start(ExecStdio::Pipes { stdin, stdout, stderr });
        Ok(ExecSession { io, end, hung_up: Box::pin(hung_up) })
    }

    async fn on_terminal(self, streams: StreamSet) -> Result<ExecSession, Error> {
        let (taker, comes) = oneshot::channel();
        let (mut end, hung_up) = self.start(ExecStdio::Terminal(taker));
        let Ok(terminal) = comes.await else {
            // Without one, the process was not started.
            let code = end.wait().await?;
            return Err(Error::Lost { what: format!("an exec's terminal; exit code {code}") });
        };
        let io = SessionIo::terminal(&terminal, streams);
        let hung_up = async move {
            hung_up.await;
            drop(terminal);
        };
        Ok(ExecSession { io, end, hung_up: Box::pin(hung_up) })
    }

    /// Asks for the process, and follows it until it has ended, whether or not the client stays. The second resolves as
    /// [`ExecSession::hung_up`].
    fn start(self, stdio: ExecStdio) -> (SessionEnd<i32>, impl Future<Output = ()> + Send + use<>) {
        let (mut answer, end) = oneshot::channel();
        let (told, hung_up) = oneshot::channel::<()>();
        let Self { inner, monitor, request, scratch } = self;
        let closing = inner.closing.clone();
        inner.tasks.spawn(async move {
            // The runtime reads its files until the process runs.
            let _scratch = scratch;
            let exec_id = request.exec_id.clone();
            let mut exec = std::pin::pin!(monitor.exec(request, stdio));
            tokio::select! {
                biased;
                // The monitor hangs it up, when our connection goes.
                () = closing.cancelled() => {
                    let _ = answer.send(Err(Error::Refused(Refusal::ShuttingDown)));
                }
                ended = &mut exec => {
                    // A client that has left at the same moment wants no answer.
                    let _ = answer.send(ended.map(|exit| exit.code).map_err(Error::from));
                }
                () = answer.closed() => {
                    let left = async {
                        hang_up(&monitor, &exec_id).await;
                        drop(told);
                        exec.await
                    };
                    if let Some(Err(error)) = closing.run_until_cancelled(left).await {
                        tracing::debug!(exec_id, %error, "exec of a client that has left");
                    }
                }
            }
        });
        let lost = || Err(Error::Lost { what: "an exec".to_owned() });
        let end = SessionEnd { future: Box::pin(async move { end.await.unwrap_or_else(|_| lost()) }) };
        (end, async move { drop(hung_up.await) })
    }
}

async fn hang_up(monitor: &Monitor, exec_id: &str) {
    if let Err(error) = monitor.hang_up_exec(exec_id, HANG_UP_GRACE).await {
        tracing::warn!(exec_id, %error, "a process whose client has left was not hung up");
    }
}
