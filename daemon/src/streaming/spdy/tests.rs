use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::frame::{Frame, Parser, Reset, data, rst_stream};
use super::headers::Deflater;
use super::*;

const IDLE: Duration = Duration::from_millis(50);
fn limits(idle: Duration) -> Limits {
    Limits { idle, pool: Pool::new() }
}

fn no_limit() -> Limits {
    limits(Duration::from_secs(3600))
}

/// A client that says frames and hears them.
struct Client {
    io: DuplexStream,
    deflater: Deflater,
    parser: Parser,
    heard: Vec<u8>,
}

impl Client {
    fn open(limits: Limits) -> (Self, Session) {
        let (io, server) = tokio::io::duplex(64 << 10);
        let client = Self { io, deflater: Deflater::new(), parser: Parser::new(), heard: Vec::new() };
        (client, Session::new(server, limits))
    }

    async fn say(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("the session reads");
    }

    async fn syn(&mut self, id: u32) {
        let block = self.deflater.empty();
        self.syn_with(id, &block).await;
    }

    async fn syn_with(&mut self, id: u32, block: &[u8]) {
        let mut frame = vec![0x80, 3, 0, 1];
        frame.extend((10 + block.len() as u32).to_be_bytes());
        frame.extend(id.to_be_bytes());
        frame.extend([0; 6]);
        frame.extend(block);
        self.say(&frame).await;
    }

    /// The next frame as text; none at the end of the connection.
    async fn hear(&mut self) -> Option<String> {
        loop {
            let mut input = self.heard.as_slice();
            let found = self.parser.next(&mut input).expect("valid frames").map(|frame| match frame {
                Frame::Data { bytes, fin, .. } => {
                    format!("{}{}", String::from_utf8_lossy(bytes), if fin { "." } else { "" })
                }
                Frame::SynReply { .. } => "reply".to_owned(),
                frame => format!("{frame:?}"),
            });
            let rest = input.to_vec();
            self.heard = rest;
            if found.is_some() {
                return found;
            }
            let mut buffer = [0; 4096];
            match self.io.read(&mut buffer).await.ok()? {
                0 => return None,
                length => self.heard.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

async fn opened(client: &mut Client, session: &mut Session, id: u32) -> Stream {
    client.syn(id).await;
    let stream = session.accept().await.expect("a stream").accept();
    assert_eq!(client.hear().await.as_deref(), Some("reply"));
    stream
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways_and_ends_on_each_side() {
    let (mut client, mut session) = Client::open(no_limit());
    let mut stream = opened(&mut client, &mut session, 1).await;
    client.say(&data(1, b"question", true)).await;
    let mut question = String::new();
    stream.read_to_string(&mut question).await.expect("until its end");
    assert_eq!(question, "question");
    stream.write_all(b"answer").await.expect("the client reads");
    stream.shutdown().await.expect("the client reads");
    drop(stream);
    assert_eq!(client.hear().await.as_deref(), Some("answer"));
    assert_eq!(client.hear().await.as_deref(), Some("."));
    let closing = tokio::spawn(session.close());
    assert_eq!(client.hear().await.as_deref(), Some("GoAway"));
    assert_eq!(client.hear().await, None);
    drop(client);
    closing.await.expect("no panic");
}

#[tokio::test]
async fn a_stream_that_is_let_go_is_reset_and_what_comes_on_it_stalls_nobody() {
    let (mut client, mut session) = Client::open(no_limit());
    drop(opened(&mut client, &mut session, 1).await);
    assert_eq!(client.hear().await.as_deref(), Some("RstStream { id: 1 }"));
    for _ in 0..64 {
        client.say(&data(1, &[0; 60_000], false)).await;
    }
    client.say(&frame::ping(9)).await;
    while client.hear().await.expect("the session goes on") != "Ping { id: 9 }" {}
}

#[tokio::test]
async fn a_refused_or_forgotten_stream_is_reset_and_a_reset_one_is_lost() {
    let (mut client, mut session) = Client::open(no_limit());
    client.syn(1).await;
    session.accept().await.expect("a stream").refuse();
    assert_eq!(client.hear().await.as_deref(), Some("RstStream { id: 1 }"));
    let mut stream = opened(&mut client, &mut session, 3).await;
    client.say(&rst_stream(3, Reset::Cancel)).await;
    assert!(stream.read_u8().await.is_err());
    assert!(stream.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn what_nobody_reads_is_bounded_and_comes_whole_when_it_is_read() {
    let (mut client, mut session) = Client::open(no_limit());
    let mut stream = opened(&mut client, &mut session, 1).await;
    let (total, chunk) = (4 << 20, vec![7; 60_000]);
    let sending = async {
        let mut sent = 0;
        while sent < total {
            client.say(&data(1, &chunk, false)).await;
            sent += chunk.len();
        }
        client.say(&data(1, &[], true)).await;
        sent
    };
    let reading = async {
        // The sender fills what there is, and waits.
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("until its end");
        all.len()
    };
    let (sent, read) = tokio::join!(sending, reading);
    assert_eq!(sent, read);
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_is_told_and_cut_off() {
    for bytes in [
        &[0x80, 9, 0, 1, 0, 0, 0, 0][..],
        &[0, 0, 0, 5, 0, 0, 0, 1, 1],
        &[0x80, 3, 0, 1, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0],
    ] {
        let (mut client, mut session) = Client::open(no_limit());
        client.say(bytes).await;
        assert!(session.accept().await.is_none());
        assert_eq!(client.hear().await.as_deref(), Some("GoAway"));
        assert_eq!(client.hear().await, None);
    }
}

#[tokio::test]
async fn an_idle_session_ends() {
    let began = Instant::now();
    let (mut client, mut session) = Client::open(limits(IDLE));
    let stream = opened(&mut client, &mut session, 1).await;
    assert!(session.accept().await.is_none());
    assert!(began.elapsed() >= IDLE);
    drop(stream);
}

#[tokio::test]
async fn streams_for_which_there_is_no_room_are_refused_and_the_session_goes_on() {
    let pool = Pool::of(0);
    let (mut client, mut session) =
        Client::open(Limits { idle: Duration::from_secs(3600), pool: pool.clone() });
    let mut streams = Vec::new();
    for id in (1..).step_by(2).take(16) {
        streams.push(opened(&mut client, &mut session, id).await);
    }
    client.syn(33).await;
    assert_eq!(client.hear().await.as_deref(), Some("RstStream { id: 33 }"));
    // With what is its own, it carries as much as is wanted.
    let stream = &mut streams[0];
    let answer = vec![b'x'; 100_000];
    let hearing = async {
        let mut heard = 0;
        while heard < answer.len() {
            heard += client.hear().await.expect("the session goes on").len();
        }
    };
    let (written, ()) = tokio::join!(stream.write_all(&answer), hearing);
    written.expect("the client reads");
    drop(streams.pop());
    assert_eq!(client.hear().await.as_deref(), Some("RstStream { id: 31 }"));
    opened(&mut client, &mut session, 35).await;
}

#[tokio::test]
async fn a_stream_with_long_headers_is_refused() {
    let (mut client, mut session) = Client::open(no_limit());
    let text = "x".repeat(5000);
    let length = (text.len() as u32).to_be_bytes();
    let block =
        [&1_u32.to_be_bytes()[..], &9_u32.to_be_bytes(), b"requestid", &length, text.as_bytes()].concat();
    let block = client.deflater.deflate(&block);
    client.syn_with(1, &block).await;
    assert_eq!(client.hear().await.as_deref(), Some("RstStream { id: 1 }"));
    opened(&mut client, &mut session, 3).await;
}
