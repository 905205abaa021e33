//! PortForward.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};

use crate::error::{Error, Refusal};
use crate::find;
use crate::model::{SandboxId, SandboxState};
use crate::namespaces;
use crate::pods::Pods;
use crate::sandbox::record::SandboxRecord;

/// For a port whose queue of connections is full: the kernel drops ours without a word.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

impl Pods {
    /// Whether ports of the sandbox could be forwarded now: its full ID.
    ///
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`]; [`Error::Refused`] unless it is ready.
    pub fn check_port_forward(&self, sandbox_id: &str) -> Result<SandboxId, Error> {
        self.forwardable(sandbox_id).map(|record| record.id.clone())
    }

    /// Connects to `127.0.0.1:port`, else to `[::1]:port`, in the network namespace of a ready sandbox (CRI api.proto,
    /// PortForward). A socket stays in the namespace that it was made in, so only that is done there.
    ///
    /// # Errors
    /// As [`Self::check_port_forward`]; [`Error::PortUnreachable`] with the reason of IPv4.
    pub async fn port_forward(&self, id: &SandboxId, port: u16) -> Result<TcpStream, Error> {
        let unreachable = |source| Error::PortUnreachable { port, source };
        let record = self.forwardable(id.as_str())?;
        let sockets = match &record.namespaces.network {
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

    fn forwardable(&self, id: &str) -> Result<Arc<SandboxRecord>, Error> {
        self.inner.check_open()?;
        let record = find::sandbox(&self.inner.table.snapshot(), id)?;
        match record.state.for_cri() {
            SandboxState::Ready => Ok(record),
            state => Err(Error::Refused(Refusal::SandboxNotReady { id: record.id.to_string(), state })),
        }
    }
}

/// In the calling thread's namespace; a kernel without IPv6 has none of it.
fn sockets() -> io::Result<(TcpSocket, Option<TcpSocket>)> {
    Ok((TcpSocket::new_v4()?, TcpSocket::new_v6().ok()))
}
