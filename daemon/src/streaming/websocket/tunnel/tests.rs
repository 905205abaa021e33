use futures_util::SinkExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::streaming::budget::Pool;
use crate::streaming::websocket::accept;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

async fn tunnel() -> (Tunnel<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(16 << 10);
    (
        Tunnel::new(accept(ours, &Pool::new()).await),
        WebSocketStream::from_raw_socket(theirs, Role::Client, None).await,
    )
}

#[tokio::test]
async fn bytes_pass_both_ways_wherever_messages_end() {
    let (tunnel, mut peer) = tunnel().await;
    let (mut from, mut to) = tokio::io::split(tunnel);
    let sent: Vec<u8> = (0..300_000u32).map(|n| n.to_be_bytes()[2]).collect();
    let output = sent.clone();
    let client = async {
        for piece in [&b"spl"[..], b"", b"it up"] {
            peer.send(Message::Binary(Bytes::copy_from_slice(piece))).await.unwrap();
        }
        let mut received = Vec::new();
        while let Some(message) = peer.next().await {
            match message.unwrap() {
                Message::Binary(bytes) => received.extend_from_slice(&bytes),
                Message::Close(frame) => assert_eq!(frame.unwrap().code, CloseCode::Normal),
                other => panic!("{other:?}"),
            }
        }
        received
    };
    let server = async move {
        let mut input = [0; 8];
        from.read_exact(&mut input).await.unwrap();
        to.write_all(&output).await.unwrap();
        to.shutdown().await.unwrap();
        // The client's answer to the close.
        assert_eq!(from.read(&mut [0; 1]).await.unwrap(), 0);
        // A client waits for the server to close what carries the messages.
        drop((from, to));
        input
    };
    let (received, input) = tokio::join!(client, server);
    assert_eq!(&input, b"split up");
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
}

#[tokio::test]
async fn the_peers_close_is_the_end_of_file_and_a_text_is_an_error() {
    let (mut bytes, mut peer) = tunnel().await;
    let mut byte = [0; 1];
    let (end, closed) = tokio::join!(bytes.read(&mut byte), peer.close(None));
    closed.unwrap();
    assert_eq!(end.unwrap(), 0);

    let (mut bytes, mut peer) = tunnel().await;
    peer.send(Message::text("SPDY?")).await.unwrap();
    assert_eq!(bytes.read(&mut [0; 1]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
}
