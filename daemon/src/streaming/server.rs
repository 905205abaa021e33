//! The listening socket and the task that owns all connections.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use linkspan_config::Streaming;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::connection::{Connections, Speak};
use super::desk::Desk;
use super::room::Room;
use super::strangers::{Stranger, Strangers};
use super::tls::Tls;
use crate::Error;
use crate::accept;
use crate::metrics::Metrics;

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
    room: Room,
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
        Ok(Self { listener, tls, desk, room: Room::new() })
    }

    /// Where the RPCs get their URLs.
    pub(crate) fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// Serves, in a task of its own.
    pub(crate) fn start(self, metrics: Metrics, speak: Speak) -> Serving {
        let told = CancellationToken::new();
        let connections = Connections { desk: self.desk, speak, metrics, room: self.room };
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
    let (tls, strangers) = (tls.map(Arc::new), Strangers::new());
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
                let (connections, tls) = (connections.clone(), tls.clone());
                tasks.spawn(async move { connections.serve(stream, peer, tls, stranger).await });
            }
        }
    }
    drop(listener);
    tasks.shutdown().await;
}

/// The next connection, once there is room for it. Cancel safe.
async fn next(listener: &TcpListener, strangers: &Strangers) -> (TcpStream, SocketAddr, Stranger) {
    loop {
        let room = strangers.room().await;
        let (stream, peer) = accept::next("a streaming connection", || listener.accept()).await;
        let local = match prepare(&stream).and_then(|()| stream.local_addr()) {
            Ok(local) => local,
            Err(error) => {
                tracing::debug!(%peer, %error, "a streaming client left at once");
                continue;
            }
        };
        match strangers.admit(room, peer, local) {
            Some(stranger) => return (stream, peer, stranger),
            None => {
                tracing::debug!(%peer, "too many streaming connections without a request: one more is closed")
            }
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
