//! The listening socket and the task that owns all connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use linkspan_config::Streaming;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection::{Connections, Speak};
use super::desk::Desk;
use super::tls::Tls;
use crate::Error;
use crate::accept;
use crate::metrics::Metrics;

/// Most sessions at a time; one more is refused.
const MOST_SESSIONS: usize = 1000;
/// Most connections that have shown no ticket yet; more wait in the kernel's queue.
const MOST_STRANGERS: usize = 256;
/// A client that has vanished is found out after about a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// How long sessions may take to be dropped.
const GRACE: Duration = Duration::from_secs(5);

/// Listens, and does not serve yet: clients that come early wait.
pub(crate) struct Server {
    listener: TcpListener,
    tls: Option<Tls>,
    desk: Desk,
    most_sessions: usize,
}

impl Server {
    /// # Errors
    /// [`Error::Streaming`] for an address that cannot be had, [`Error::Tls`] for files that are no good.
    pub(crate) async fn bind(config: &Streaming) -> Result<Self, Error> {
        let tls = Tls::open(config)?;
        let address = SocketAddr::new(config.address, config.port);
        let bad = |source| Error::Streaming { address, source };
        let listener = TcpListener::bind(address).await.map_err(bad)?;
        let desk = Desk::new(listener.local_addr().map_err(bad)?, tls.is_some());
        Ok(Self { listener, tls, desk, most_sessions: MOST_SESSIONS })
    }

    /// Where the RPCs get their URLs.
    pub(crate) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Serves, in a task of its own.
    pub(crate) fn start(self, metrics: Metrics, speak: Speak) -> Serving {
        let told = CancellationToken::new();
        let sessions = Arc::new(Semaphore::new(self.most_sessions));
        let connections = Connections { desk: self.desk, speak, metrics, sessions };
        let accept = accept(self.listener, self.tls, Arc::new(connections), told.clone());
        Serving { told, task: tokio::spawn(accept) }
    }
}

/// The server at work.
pub(crate) struct Serving {
    told: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Ends all sessions, whatever they are at: a client sees its connection close.
    pub(crate) async fn end(self) {
        self.told.cancel();
        match tokio::time::timeout(GRACE, self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the streaming server broke"),
            Err(_) => tracing::warn!(after = ?GRACE, "streaming sessions did not end and are left"),
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<Tls>,
    connections: Arc<Connections>,
    told: CancellationToken,
) {
    let strangers = Arc::new(Semaphore::new(MOST_STRANGERS));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = told.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a streaming session broke");
                }
            }
            (stream, peer, stranger) = next(&listener, &strangers) => {
                let (connections, tls) = (connections.clone(), tls.as_ref().map(Tls::current));
                tasks.spawn(async move { connections.serve(stream, peer, tls, stranger).await });
            }
        }
    }
    drop(listener);
    tasks.shutdown().await;
}

/// The next connection, once there is room for it. Cancel safe.
async fn next(
    listener: &TcpListener,
    strangers: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let stranger = strangers.clone().acquire_owned().await.expect("nobody closes it");
        let (stream, peer) = accept::next("a streaming connection", || listener.accept()).await;
        match prepare(&stream) {
            Ok(()) => return (stream, peer, stranger),
            Err(error) => tracing::debug!(%peer, %error, "a streaming client left at once"),
        }
    }
}

/// Keys are sent as they are typed, and a client that has vanished is missed even if nobody types.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests;
