//! Connections as pairs of channels in a WebSocket: for the n-th port of the request, 2n carries data and 2n + 1 an error. The first message of each is the port,
//! two bytes, little endian.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;

use super::relay::{Until, relay};
use super::{Connect, Target};
use crate::streaming::budget::Pool;
use crate::streaming::websocket::{Channels, Metered, Reader, Writer};

/// Connects to all `ports` at once; resolves when all these connections have ended and the WebSocket is closed. Dropping it ends all of them.
pub(crate) async fn over_channels<IO, C>(
    socket: WebSocketStream<Metered<IO>>,
    mut channels: Channels,
    ports: &[u16],
    idle: Duration,
    target: Target<C>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Connect,
{
    let pool = channels.pool().clone();
    let mut pairs = Vec::new();
    for (data, port) in (0u8..).step_by(2).zip(ports) {
        let (from_client, to_client, error) =
            (channels.reader(data), channels.writer(data), channels.writer(data + 1));
        pairs.push(Channel { port: *port, from_client, to_client, error });
    }
    let connection = channels.open(socket, idle);
    let gone = connection.gone();
    let all = futures_util::future::join_all(pairs.into_iter().map(|pair| pair.forward(&target, &pool)));
    tokio::select! {
        _ = all => {}
        () = gone.cancelled() => {}
    }
    connection.close().await;
}

/// One of the connections.
struct Channel {
    port: u16,
    from_client: Reader,
    to_client: Writer,
    error: Writer,
}

impl Channel {
    async fn forward<C: Connect>(mut self, target: &Target<C>, pool: &Pool) {
        let port = self.port.to_le_bytes();
        if self.to_client.write_all(&port).await.is_err() || self.error.write_all(&port).await.is_err() {
            return;
        }
        let outcome = match target.connect(self.port).await {
            Ok((pod, _place)) => {
                let client = (self.from_client, self.to_client);
                relay(client, pod, Until::PodEnds, pool).await.map_err(|error| target.error(self.port, error))
            }
            Err(text) => Err(text),
        };
        if let Err(text) = outcome {
            tracing::debug!(sandbox_id = %target.sandbox, port = self.port, error = text, "port not forwarded");
            let _ = self.error.write_all(text.as_bytes()).await;
        }
    }
}
