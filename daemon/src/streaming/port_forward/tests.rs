use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::relay::{Until, relay};
use super::*;
use crate::streaming::budget::Pool;
use crate::streaming::request::Ticket;
use crate::streaming::room::Room;
use crate::streaming::websocket::{self, Channels, Encoding};

const LONG: Duration = Duration::from_secs(3600);

/// Port 80 is that of the listener here; all others are refused.
#[derive(Clone, Copy)]
struct Here(u16);

impl Connect for Here {
    async fn connect(&self, port: u16) -> Result<TcpStream, Error> {
        match port {
            80 => Ok(TcpStream::connect(("127.0.0.1", self.0)).await.unwrap()),
            _ => Err(Error::NoSuchSandbox(format!("port {port}"))),
        }
    }
}

async fn listener() -> (TcpListener, Here) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Here(port))
}

fn place() -> Arc<Place> {
    let ticket = Ticket::PortForward { sandbox: "5".repeat(64).try_into().unwrap(), ports: Vec::new() };
    Arc::new(Room::of(1, 100).place(&ticket).unwrap())
}

#[tokio::test]
async fn channels_begin_with_their_port_and_a_refusal_spares_the_others() {
    let (listener, connect) = listener().await;
    let id = "5".repeat(64);
    let target = Target { sandbox: id.clone().try_into().unwrap(), connect, place: place() };
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let pool = Pool::new();
    let channels = Channels::new(Encoding::Binary, false, &pool);
    let server = over_channels(websocket::accept(ours, &pool).await, channels, &[80, 81], LONG, target);
    let mut peer = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let pod = async {
        let mut question = [0; 8];
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut question).await.unwrap();
        stream.write_all(b"answer").await.unwrap();
        question
    };
    let client = async {
        peer.send(Message::Binary(Bytes::from_static(b"\0question"))).await.unwrap();
        let mut told = vec![Vec::new(); 4];
        while let Some(Ok(message)) = peer.next().await {
            if let Message::Binary(message) = message {
                told[usize::from(message[0])].extend_from_slice(&message[1..]);
            }
        }
        told
    };
    let (told, question, ()) = tokio::join!(client, pod, server);
    assert_eq!(&question, b"question");
    assert_eq!(
        (&told[0][..], &told[1][..], &told[2][..]),
        (&b"\x50\0answer"[..], &b"\x50\0"[..], &b"\x51\0"[..])
    );
    let refusal = std::str::from_utf8(&told[3][2..]).unwrap();
    assert_eq!(refusal, format!("error forwarding port 81 to pod {id}: no sandbox \"port 81\""));
}

#[tokio::test]
async fn the_end_of_one_side_is_told_to_the_other_whose_own_goes_on() {
    let (listener, connect) = listener().await;
    let (ours, mut client) = tokio::io::duplex(1024);
    let pod = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        stream.write_all(format!("you said {all}").as_bytes()).await.unwrap();
    };
    let user = async {
        client.write_all(b"all").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let (stream, pool) = (connect.connect(80).await.unwrap(), Pool::new());
    let (answer, (), outcome) =
        tokio::join!(user, pod, relay(tokio::io::split(ours), stream, Until::BothEnd, &pool));
    outcome.unwrap();
    assert_eq!(answer, "you said all");
}

#[tokio::test]
async fn a_reset_by_the_pod_leaves_the_client_what_was_said_before_it() {
    let (listener, connect) = listener().await;
    let (ours, mut client) = tokio::io::duplex(1024);
    let (stream, pool) = (connect.connect(80).await.unwrap(), Pool::new());
    let pod = async {
        let (mut accepted, _) = listener.accept().await.unwrap();
        accepted.write_all(b"half of ").await.unwrap();
        accepted.read_exact(&mut [0; 3]).await.unwrap();
        // RFC 1122: a socket that is closed without lingering is reset.
        rustix::net::sockopt::set_socket_linger(&accepted, Some(Duration::ZERO)).unwrap();
    };
    let user = async {
        let mut answer = vec![0; 8];
        client.read_exact(&mut answer).await.unwrap();
        client.write_all(b"all").await.unwrap();
        // The other side still goes on here: only the reset ends it.
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let relayed = relay(tokio::io::split(ours), stream, Until::BothEnd, &pool);
    let (answer, (), outcome) = tokio::join!(user, pod, relayed);
    assert_eq!((&answer[..], outcome.is_err()), (&b"half of "[..], true));
}
