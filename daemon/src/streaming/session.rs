//! One session, from the upgraded connection to its end. All of it is in one future: dropping that ends the session, and what it joined is told.

use std::sync::Arc;
use std::time::Duration;

use linkspan_pod_sandbox::model::{ContainerId, SandboxId};
use linkspan_pod_sandbox::{Error, Pods, StreamSet};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::budget::Pool;
use super::negotiate::{Negotiated, Transport};
use super::port_forward::{self, Connect, Target};
use super::remote_command::{self, Client, Layout, Version};
use super::request::Ticket;
use super::room::Place;
use super::spdy;
use super::websocket::{self, Channels, Tunnel};

/// What bounds a session.
#[derive(Clone, Debug)]
pub(crate) struct SessionLimits {
    /// How long it may carry nothing.
    pub(crate) idle: Duration,
    /// Its place among the others.
    pub(crate) place: Arc<Place>,
}

/// Does what `ticket` says for the client behind `io`, until either side has ended.
pub(crate) async fn serve<IO>(
    io: IO,
    negotiated: Negotiated,
    ticket: Ticket,
    pods: Pods,
    limits: SessionLimits,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let SessionLimits { idle, place } = limits;
    let connection = Connection { io, negotiated, idle, pool: place.pool().clone() };
    match ticket {
        Ticket::Exec { container, command, streams } => {
            let work = |client| exec(client, pods, container, command, streams);
            connection.remote_command(streams, work).await;
        }
        Ticket::Attach { container, streams } => {
            connection.remote_command(streams, |client| attach(client, pods, container, streams)).await;
        }
        Ticket::PortForward { sandbox, ports } => {
            let connect = IntoPod { pods, sandbox: sandbox.clone() };
            connection.port_forward(&ports, Target { sandbox, connect, place }).await;
        }
    }
}

async fn exec(client: Client, pods: Pods, container: ContainerId, command: Vec<String>, streams: StreamSet) {
    let gone = client.gone.clone();
    let Some(session) = gone.run_until_cancelled(pods.exec(&container, command, streams)).await else {
        return;
    };
    match session {
        Ok(session) => {
            let (process, hung_up) = remote_command::exec_process(session);
            remote_command::run_exec(client, process, hung_up).await;
        }
        Err(error) => client.fail(format!("error executing command in container: {error}")).await,
    }
}

async fn attach(client: Client, pods: Pods, container: ContainerId, streams: StreamSet) {
    let gone = client.gone.clone();
    let Some(session) = gone.run_until_cancelled(pods.attach(&container, streams)).await else { return };
    match session {
        Ok(session) => {
            let ends_with_input = !session.stdin_once || streams.tty;
            remote_command::run_attach(client, remote_command::attach_process(session), ends_with_input)
                .await;
        }
        Err(error) => client.fail(format!("error attaching to container: {error}")).await,
    }
}

/// An upgraded connection, and what is spoken on it.
struct Connection<IO> {
    io: IO,
    negotiated: Negotiated,
    idle: Duration,
    pool: Pool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<IO> {
    async fn remote_command<W>(self, streams: StreamSet, work: impl FnOnce(Client) -> W)
    where
        W: Future<Output = ()>,
    {
        let Negotiated { transport, version, .. } = self.negotiated;
        match transport {
            Transport::WebSocket(encoding) => {
                let channels = Channels::new(encoding, version >= Version::V5, &self.pool);
                let socket = websocket::accept(self.io, &self.pool).await;
                let layout = Layout { version, streams, idle: self.idle };
                remote_command::over_channels(socket, channels, layout, work).await;
            }
            Transport::Spdy | Transport::SpdyInWebSocket => {
                remote_command::over_spdy(self.spdy().await, version, streams, work).await;
            }
        }
    }

    async fn port_forward(self, ports: &[u16], target: Target<IntoPod>) {
        match self.negotiated.transport {
            Transport::WebSocket(encoding) => {
                let channels = Channels::new(encoding, false, &self.pool);
                let socket = websocket::accept(self.io, &self.pool).await;
                port_forward::over_channels(socket, channels, ports, self.idle, target).await;
            }
            Transport::Spdy | Transport::SpdyInWebSocket => {
                port_forward::over_spdy(self.spdy().await, target).await
            }
        }
    }

    async fn spdy(self) -> spdy::Session {
        let limits = spdy::Limits { idle: self.idle, pool: self.pool.clone() };
        match self.negotiated.transport {
            Transport::SpdyInWebSocket => {
                spdy::Session::new(Tunnel::new(websocket::accept(self.io, &self.pool).await), limits)
            }
            Transport::Spdy | Transport::WebSocket(_) => spdy::Session::new(self.io, limits),
        }
    }
}

/// Asks for the sandbox at each connection: one that has been stopped is connected to no more.
#[derive(Clone)]
struct IntoPod {
    pods: Pods,
    sandbox: SandboxId,
}

impl Connect for IntoPod {
    async fn connect(&self, port: u16) -> Result<TcpStream, Error> {
        self.pods.port_forward(&self.sandbox, port).await
    }
}
