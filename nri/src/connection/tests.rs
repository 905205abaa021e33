//! A peer of our own at the other end: what no well-meant plugin sends.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::{Asked, Connection, Request, Response, Status};
use crate::error::{Ended, Failure, Nonsense};
use crate::mux::{self, Header, PLUGIN_SERVICE, RUNTIME_SERVICE};
use crate::ttrpc::{Decoder, Kind, MAX_MESSAGE, Message, encode};

const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Peer {
    socket: UnixStream,
    decoder: Decoder,
}

impl Peer {
    pub(crate) async fn send(&mut self, connection: u32, kind: Kind, stream: u32, payload: &[u8]) {
        self.raw(&mux::frames(connection, &encode(kind, stream, payload))).await;
    }

    async fn raw(&mut self, bytes: &[u8]) {
        // Fails if we are disconnected already, which the test then sees.
        let _ = self.socket.write_all(bytes).await;
    }

    pub(crate) async fn receive(&mut self) -> Message {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return message;
            }
            let mut header = [0; mux::HEADER_LENGTH];
            self.socket.read_exact(&mut header).await.unwrap();
            let mut payload = vec![0; Header::decode(header).unwrap().length];
            self.socket.read_exact(&mut payload).await.unwrap();
            self.decoder.push(&payload);
        }
    }
}

pub(crate) fn pair() -> (Arc<Connection>, mpsc::Receiver<Asked>, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (connection, asked) = Connection::start(ours);
    (connection, asked, Peer { socket: theirs, decoder: Decoder::default() })
}

async fn call(connection: &Connection, payload: &[u8], deadline: Duration) -> Result<bytes::Bytes, Failure> {
    connection.call("service", "Method", payload.to_vec(), deadline).await
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (connection, _asked, mut peer) = pair();
    let peer = async move {
        let (first, second) = (peer.receive().await, peer.receive().await);
        assert_eq!((first.stream, second.stream), (1, 3));
        let request = Request::decode(first.payload).unwrap();
        assert_eq!((request.service.as_str(), request.method.as_str()), ("service", "Method"));
        assert_eq!(request.timeout_nano, i64::try_from(LONG.as_nanos()).unwrap());
        for (stream, payload) in [(3, b"second"), (1, b"first ")] {
            let answer = Response { status: None, payload: payload.to_vec() };
            peer.send(PLUGIN_SERVICE, Kind::Response, stream, &answer.encode_to_vec()).await;
        }
        peer
    };
    let (first, second, _peer) =
        tokio::join!(call(&connection, b"1", LONG), call(&connection, b"2", LONG), peer);
    assert_eq!((&first.unwrap()[..], &second.unwrap()[..]), (&b"first "[..], &b"second"[..]));
}

#[tokio::test]
async fn a_status_is_the_plugins_own_and_ends_nothing() {
    let (connection, _asked, mut peer) = pair();
    let peer = async move {
        let stream = peer.receive().await.stream;
        let status = Some(Status { code: 12, message: "no such thing".to_owned() });
        peer.send(
            PLUGIN_SERVICE,
            Kind::Response,
            stream,
            &Response { status, payload: Vec::new() }.encode_to_vec(),
        )
        .await;
        peer
    };
    let (answer, _peer) = tokio::join!(call(&connection, b"", LONG), peer);
    assert_eq!(answer, Err(Failure::Status { code: 12, message: "no such thing".to_owned() }));
    assert_eq!(connection.why(), None);
}

#[tokio::test]
async fn late_is_lost() {
    let (connection, _asked, _peer) = pair();
    let after = Duration::from_millis(20);
    let expected = Failure::Ended(Ended::Late { call: "Method", after });
    assert_eq!(call(&connection, b"", after).await, Err(expected.clone()));
    assert_eq!(call(&connection, b"", LONG).await, Err(expected), "and so is the next");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_late() {
    let (connection, _asked, _peer) = pair();
    let answer = call(&connection, &vec![0; MAX_MESSAGE - 100], Duration::from_millis(50)).await;
    assert!(matches!(answer, Err(Failure::Ended(Ended::Late { .. }))), "{answer:?}");
}

#[tokio::test]
async fn a_message_that_is_too_long_is_not_sent() {
    let (connection, _asked, _peer) = pair();
    let answer = call(&connection, &vec![0; MAX_MESSAGE], LONG).await;
    assert!(matches!(answer, Err(Failure::TooLong { length }) if length > MAX_MESSAGE), "{answer:?}");
    assert_eq!(connection.why(), None);
}

#[tokio::test]
async fn a_peer_that_goes_ends_the_calls_that_wait() {
    let (connection, _asked, peer) = pair();
    let (answer, ()) = tokio::join!(call(&connection, b"", LONG), async { drop(peer) });
    assert!(matches!(answer, Err(Failure::Ended(_))), "{answer:?}");
}

#[tokio::test]
async fn nonsense_ends_the_connection_and_says_what_it_was() {
    async fn check(bytes: Vec<u8>, expected: Nonsense) {
        let (connection, _asked, mut peer) = pair();
        peer.raw(&bytes).await;
        tokio::time::timeout(LONG, connection.closed()).await.expect("it is closed");
        assert_eq!(connection.why(), Some(&Ended::Nonsense(expected)));
        let mut rest = Vec::new();
        let end = tokio::time::timeout(LONG, peer.socket.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "the peer hears of the end");
    }
    let message =
        |connection, kind, stream, payload: &[u8]| mux::frames(connection, &encode(kind, stream, payload));
    check(b"GET / HTTP/1.1\r\n".to_vec(), Nonsense::FrameTooLong { length: u32::from_be_bytes(*b"/ HT") })
        .await;
    check(message(PLUGIN_SERVICE, Kind::Response, 7, b""), Nonsense::NotAsked { stream: 7 }).await;
    check(message(PLUGIN_SERVICE, Kind::Request, 1, b""), Nonsense::WrongWay { connection: 1 }).await;
    check(message(RUNTIME_SERVICE, Kind::Response, 1, b""), Nonsense::WrongWay { connection: 2 }).await;
    check(message(RUNTIME_SERVICE, Kind::Request, 2, b""), Nonsense::StreamOrder { stream: 2 }).await;
    let twice =
        [message(RUNTIME_SERVICE, Kind::Request, 3, b""), message(RUNTIME_SERVICE, Kind::Request, 3, b"")];
    check(twice.concat(), Nonsense::StreamOrder { stream: 3 }).await;
    let mut data = message(RUNTIME_SERVICE, Kind::Request, 1, b"");
    data[mux::HEADER_LENGTH + 8] = 3;
    check(data, Nonsense::MessageType { kind: 3 }).await;
}

#[tokio::test]
async fn connections_that_nobody_opened_are_ignored() {
    let (connection, mut asked, mut peer) = pair();
    peer.raw(&mux::frames(77, &[0xff; 5000])).await;
    peer.raw(&mux::frames(0, b"x")).await;
    let request = Request { method: "Hello".to_owned(), ..Request::default() };
    peer.send(RUNTIME_SERVICE, Kind::Request, 1, &request.encode_to_vec()).await;
    assert_eq!(asked.recv().await.unwrap().request.method, "Hello");
    assert_eq!(connection.why(), None);
}

#[tokio::test]
async fn a_flood_of_requests_is_answered_and_does_not_keep_our_own_from_being_answered() {
    let (connection, _asked, mut peer) = pair();
    let request = Request::default().encode_to_vec();
    for number in 0..20 {
        peer.send(RUNTIME_SERVICE, Kind::Request, 2 * number + 1, &request).await;
    }
    let peer = async move {
        let mut refused = 0;
        loop {
            let message = peer.receive().await;
            match message.kind {
                Kind::Response => {
                    assert_eq!(
                        Response::decode(message.payload).unwrap().status.unwrap().code,
                        super::RESOURCE_EXHAUSTED
                    );
                    refused += 1;
                }
                Kind::Request => {
                    peer.send(
                        PLUGIN_SERVICE,
                        Kind::Response,
                        message.stream,
                        &Response::default().encode_to_vec(),
                    )
                    .await;
                    return (refused, peer);
                }
            }
        }
    };
    let (answer, _) = tokio::join!(call(&connection, b"", LONG), peer);
    assert!(answer.is_ok(), "{answer:?}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Frames that nearly are right, and noise: it ends, or goes on, and is never in the way of a later call.
    #[test]
    fn whatever_a_peer_sends_nothing_panics(
        frames in proptest::collection::vec((0_u32..4, proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)), 0..6),
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, _asked, mut peer) = pair();
            for (to, payload) in &frames {
                peer.raw(&mux::frames(*to, payload)).await;
            }
            peer.raw(&noise).await;
            drop(peer);
            tokio::time::timeout(LONG, connection.closed()).await.expect("it ends with the peer");
            assert!(call(&connection, b"", LONG).await.is_err());
        });
    }
}
