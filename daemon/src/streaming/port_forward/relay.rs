//! Copies both ways between a client's connection and one into the pod.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::streaming::budget::Pool;
use crate::streaming::buffer::Buffer;

/// What ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Both sides have ended their output; the end of one is told to the other, whose own may go on.
    BothEnd,
    /// The pod has ended its output: of a client that has no way to end its own.
    PodEnds,
}

/// Copies until the connection has ended, or one side is lost. All that a pod has said before it was lost is the client's.
///
/// # Errors
/// That the pod's side was lost. A client that is lost needs no error.
pub(super) async fn relay<R, W>(
    client: (R, W),
    pod: TcpStream,
    until: Until,
    pool: &Pool,
) -> Result<(), io::Error>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    // What is typed into a shell or sent as a request is not held back.
    let _ = pod.set_nodelay(true);
    let (from_pod, to_pod) = pod.into_split();
    let down = down(from_pod, client.1, pool);
    let up = async {
        match up(client.0, to_pod, pool).await {
            // It takes no more, but may have said something before that: the other direction meets its end.
            Err(Lost::Pod(_)) => Ok(()),
            outcome => outcome,
        }
    };
    let outcome = match until {
        Until::BothEnd => tokio::try_join!(up, down).map(drop),
        Until::PodEnds => tokio::select! {
            outcome = down => outcome,
            Err(lost) = up => Err(lost),
        },
    };
    match outcome {
        Err(Lost::Pod(error)) => Err(error),
        Ok(()) | Err(Lost::Client) => Ok(()),
    }
}

/// Which side it was.
enum Lost {
    Client,
    Pod(io::Error),
}

async fn up<R: AsyncRead + Unpin>(mut client: R, mut pod: OwnedWriteHalf, pool: &Pool) -> Result<(), Lost> {
    let mut buffer = Buffer::new(pool);
    loop {
        match buffer.read(&mut client).await.map_err(|_| Lost::Client)? {
            [] => return pod.shutdown().await.map_err(Lost::Pod),
            bytes => pod.write_all(bytes).await.map_err(Lost::Pod)?,
        }
    }
}

async fn down<W: AsyncWrite + Unpin>(mut pod: OwnedReadHalf, mut client: W, pool: &Pool) -> Result<(), Lost> {
    let mut buffer = Buffer::new(pool);
    loop {
        match buffer.read(&mut pod).await {
            Ok([]) => return client.shutdown().await.map_err(|_| Lost::Client),
            Ok(bytes) => client.write_all(bytes).await.map_err(|_| Lost::Client)?,
            Err(error) => {
                // An end, not a reset: with that, clients throw away what they have not read yet.
                let _ = client.shutdown().await;
                return Err(Lost::Pod(error));
            }
        }
    }
}
