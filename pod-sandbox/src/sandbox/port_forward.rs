//! PortForward.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::error::{Error, Refusal};
use crate::find;
use crate::model::{SandboxId, SandboxState};
use crate::namespaces;
use crate::pods::Pods;

/// For a port whose queue of connections is full: the kernel drops ours without a word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

impl Pods {
    /// Whether ports of the sandbox could be forwarded now: its full ID.
    ///
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`]; [`Error::Refused`] unless it is ready.
    pub fn check_port_forward(&self, sandbox_id: &str) -> Result<SandboxId, Error> {
        self.forwarder(sandbox_id).map(|(id, _)| id)
    }

    /// The way into a ready sandbox (CRI api.proto, PortForward).
    ///
    /// # Errors
    /// As [`Self::check_port_forward`].
    pub fn port_forward(&self, id: &SandboxId) -> Result<Forwarder, Error> {
        self.forwarder(id.as_str()).map(|(_, forwarder)| forwarder)
    }

    fn forwarder(&self, id: &str) -> Result<(SandboxId, Forwarder), Error> {
        self.inner.check_open()?;
        let record = find::sandbox(&self.inner.table.snapshot(), id)?;
        match record.state.for_cri() {
            SandboxState::Ready => {
                let netns = record.namespaces.network.clone();
                Ok((record.id.clone(), Forwarder { netns }))
            }
            state => Err(Error::Refused(Refusal::SandboxNotReady { id: record.id.to_string(), state })),
        }
    }
}

/// Connects to the ports of one sandbox.
#[derive(Clone, Debug)]
pub struct Forwarder {
    /// `None`: the host's own.
    netns: Option<PathBuf>,
}

impl Forwarder {
    /// Connects to `127.0.0.1:port`, else to `[::1]:port`, in the pod's network namespace. A socket stays in the
    /// namespace that it was made in, so only that is done there.
    ///
    /// # Errors
    /// [`Error::PortUnreachable`] with the reason of IPv4, or of IPv6 if only that was reached.
    pub async fn connect(&self, port: u16) -> Result<TcpStream, Error> {
        let unreachable = |source| Error::PortUnreachable { port, source };
        let sockets = match &self.netns {
            Some(netns) => namespaces::in_network(netns, sockets).await?,
            None => sockets(),
        };
        let (v4, v6) = sockets.map_err(unreachable)?;
        let connecting = async {
            let refused = match v4.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await {
                Ok(stream) => return Ok(stream),
                Err(refused) => refused,
            };
            let Some(v6) = v6 else { return Err(refused) };
            v6.connect(SocketAddr::from((Ipv6Addr::LOCALHOST, port))).await.map_err(|_| refused)
        };
        let timed_out = |_| Err(io::ErrorKind::TimedOut.into());
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(timed_out).map_err(unreachable)
    }
}

/// In the calling thread's namespace; a kernel without IPv6 has none of it.
fn sockets() -> io::Result<(TcpSocket, Option<TcpSocket>)> {
    Ok((TcpSocket::new_v4()?, TcpSocket::new_v6().ok()))
}
