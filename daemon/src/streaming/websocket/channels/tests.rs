use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::streaming::websocket::accept;

const LONG: Duration = Duration::from_secs(3600);

type Peer = WebSocketStream<DuplexStream>;

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 << 10)
}

/// Runs `channels` on one end of a pipe; the other end is the client.
async fn connect(channels: Channels, idle: Duration) -> (Open, Peer) {
    let (ours, theirs) = pipe();
    let open = channels.open(accept(ours, &Pool::new()).await, idle);
    (open, WebSocketStream::from_raw_socket(theirs, Role::Client, None).await)
}

async fn send(peer: &mut Peer, message: &[u8]) {
    peer.send(Message::Binary(Bytes::copy_from_slice(message))).await.unwrap();
}

/// All that the client reads, to the code of the close.
async fn read_all(peer: &mut Peer) -> (Vec<Bytes>, Option<CloseCode>) {
    let (mut data, mut code) = (Vec::new(), None);
    while let Some(Ok(message)) = peer.next().await {
        match message {
            Message::Text(_) | Message::Binary(_) => data.push(message.into_data()),
            Message::Close(frame) => code = frame.map(|frame| frame.code),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    (data, code)
}

#[tokio::test]
async fn channels_carry_data_both_ways_and_end_alone() {
    let mut channels = Channels::new(Encoding::Binary, true, &Pool::new());
    let (mut stdin, mut resize) = (channels.reader(0), channels.reader(4));
    let mut stdout = channels.writer(1);
    let (open, mut peer) = connect(channels, LONG).await;
    for message in [&b"\0one"[..], b"\x04size", b"\0", b"", b"\x09nobody reads this", b"\0two", &[255, 0]] {
        send(&mut peer, message).await;
    }
    let (mut input, mut size) = (String::new(), [0; 4]);
    resize.read_exact(&mut size).await.unwrap();
    stdin.read_to_string(&mut input).await.unwrap();
    assert_eq!((input.as_str(), &size), ("onetwo", b"size"));

    stdout.write_all(b"answer").await.unwrap();
    drop(stdout);
    let ((data, code), ()) = tokio::join!(read_all(&mut peer), open.close());
    assert_eq!((data, code), (vec![Bytes::from_static(b"\x01answer")], Some(CloseCode::Normal)));
    assert!(resize.read(&mut size).await.is_err());
}

#[tokio::test]
async fn a_client_that_leaves_is_no_end_of_input() {
    for says_goodbye in [true, false] {
        let mut channels = Channels::new(Encoding::Binary, true, &Pool::new());
        let mut stdin = channels.reader(0);
        let (open, mut peer) = connect(channels, LONG).await;
        send(&mut peer, b"\0half").await;
        if says_goodbye {
            peer.close(None).await.unwrap();
        }
        drop(peer);
        let mut input = Vec::new();
        assert!(stdin.read_to_end(&mut input).await.is_err());
        assert_eq!(input, b"half");
        open.gone().cancelled().await;
        open.close().await;
    }
}

#[tokio::test]
async fn nothing_that_was_written_is_lost_at_the_end() {
    let channels = Channels::new(Encoding::Base64, false, &Pool::new());
    let mut stdout = channels.writer(1);
    let (open, mut peer) = connect(channels, LONG).await;
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let write = async {
        stdout.write_all(&sent).await.unwrap();
        drop(stdout);
        open.close().await;
    };
    let ((messages, code), ()) = tokio::join!(read_all(&mut peer), write);
    let mut received = Vec::new();
    for message in messages {
        match Encoding::Base64.decode(message, false) {
            Ok(Inbound::Data { channel: 1, data }) => received.extend_from_slice(&data),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(code, Some(CloseCode::Normal));
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
}

#[tokio::test]
async fn what_nobody_reads_holds_up_nothing_but_what_is_behind_it() {
    let mut channels = Channels::new(Encoding::Binary, false, &Pool::new());
    let (unwanted, mut wanted) = (channels.reader(0), channels.reader(4));
    let (_open, mut peer) = connect(channels, LONG).await;
    let flood = [vec![0], vec![7; 30_000]].concat();
    let fill = async {
        for _ in 0..100 {
            send(&mut peer, &flood).await;
        }
    };
    // Held up: the pipe and a few messages are all that anybody holds.
    assert!(tokio::time::timeout(Duration::from_millis(50), fill).await.is_err());
    drop(unwanted);
    let mut size = [0; 1];
    let (read, ()) = tokio::join!(wanted.read_exact(&mut size), send(&mut peer, b"\x04x"));
    read.unwrap();
    assert_eq!(&size, b"x");
}

#[tokio::test]
async fn a_ping_is_answered() {
    let channels = Channels::new(Encoding::Binary, false, &Pool::new());
    let _stdout = channels.writer(1);
    let (_open, mut peer) = connect(channels, LONG).await;
    peer.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    assert_eq!(peer.next().await.unwrap().unwrap(), Message::Pong(Bytes::from_static(b"there?")));
}

#[tokio::test]
async fn a_connection_that_carries_nothing_ends() {
    let channels = Channels::new(Encoding::Binary, false, &Pool::new());
    let stdout = channels.writer(1);
    let (open, mut peer) = connect(channels, Duration::from_millis(20)).await;
    open.gone().cancelled().await;
    drop(stdout);
    let ((_, code), ()) = tokio::join!(read_all(&mut peer), open.close());
    assert_eq!(code, Some(CloseCode::Away));
}

/// What the server answers to these bytes after the handshake: the code of its close frame.
async fn verdict_on(wire: &[u8], encoding: Encoding) -> u16 {
    let mut channels = Channels::new(encoding, true, &Pool::new());
    let (_stdin, stdout) = (channels.reader(0), channels.writer(1));
    let (ours, mut theirs) = pipe();
    let open = channels.open(accept(ours, &Pool::new()).await, LONG);
    theirs.write_all(wire).await.unwrap();
    open.gone().cancelled().await;
    drop(stdout);
    let mut answer = Vec::new();
    let ((), read) = tokio::join!(open.close(), theirs.read_to_end(&mut answer));
    read.unwrap();
    assert_eq!(answer[0], 0x88, "a close frame: {answer:?}");
    u16::from_be_bytes([answer[2], answer[3]])
}

#[tokio::test]
async fn a_peer_that_breaks_the_rules_is_told_which() {
    const MASK: [u8; 4] = [0; 4];
    let too_large = [&[0x82, 0x80 | 127][..], &(33u64 << 20).to_be_bytes(), &MASK].concat();
    for (what, wire, encoding, code) in [
        ("not masked", vec![0x82, 1, 0], Encoding::Binary, 1002),
        ("a reserved bit", [&[0xc2, 0x81][..], &MASK, &[0]].concat(), Encoding::Binary, 1002),
        ("an unknown opcode", [&[0x83, 0x81][..], &MASK, &[0]].concat(), Encoding::Binary, 1002),
        ("a ping in pieces", [&[0x09, 0x81][..], &MASK, &[0]].concat(), Encoding::Binary, 1002),
        ("a message too large", too_large, Encoding::Binary, 1009),
        ("text that is none", [&[0x81, 0x82][..], &MASK, &[b'0', 0xff]].concat(), Encoding::Base64, 1007),
        ("no base64", [&[0x81, 0x82][..], &MASK, b"0*"].concat(), Encoding::Base64, 1007),
        ("a close of no channel", [&[0x82, 0x81][..], &MASK, &[255]].concat(), Encoding::Binary, 1007),
    ] {
        assert_eq!(verdict_on(&wire, encoding).await, code, "{what}");
    }
}

/// A regular end is exit code 0 to a client that has read nothing else.
#[tokio::test]
async fn a_connection_that_we_end_early_never_looks_regular() {
    for _ in 0..50 {
        let (ours, theirs) = pipe();
        let (sink, _stream) = accept(ours, &Pool::new()).await.split();
        let (outbound, queue) = mpsc::channel(OUTBOUND);
        let shared = Shared::new();
        shared.end(Some(close_frame(CloseCode::Away, "idle".into())));
        // What the writers' owner does when it sees that.
        drop(outbound);
        write(sink, queue, shared).await;
        let mut peer = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        let Some(Ok(Message::Close(Some(frame)))) = peer.next().await else { panic!("no close frame") };
        assert_eq!(frame.code, CloseCode::Away);
    }
}

/// A channel whose reader is read by nobody unless the test does, and the client.
async fn unread(pool: &Pool) -> (Open, (Reader, Writer), Peer) {
    let mut channels = Channels::new(Encoding::Binary, true, pool);
    // Without a writer, the connection would end at once.
    let reader = (channels.reader(0), channels.writer(1));
    let (ours, theirs) = pipe();
    let open = channels.open(accept(ours, pool).await, LONG);
    (open, reader, WebSocketStream::from_raw_socket(theirs, Role::Client, None).await)
}

#[tokio::test]
async fn a_message_that_finds_no_room_is_told_so_and_shorter_ones_always_find_it() {
    let pool = Pool::of(1 << 20);
    let (open, mut reader, mut peer) = unread(&pool).await;
    let message = vec![0; 60_000];
    for _ in 0..3 {
        peer.feed(Message::Binary(message.clone().into())).await.unwrap();
        let mut bytes = vec![0; message.len() - 1];
        let (sent, read) = tokio::join!(peer.flush(), reader.0.read_exact(&mut bytes));
        sent.unwrap();
        read.unwrap();
    }
    let sending = async { peer.send(Message::Binary(vec![0; 2 << 20].into())).await };
    let told = async { open.gone().cancelled().await };
    tokio::join!(async { drop(sending.await) }, told);
    assert_eq!(read_all(&mut peer).await.1, Some(CloseCode::Again));
    drop((open, reader, peer));
    while pool.left() != 1 << 20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn messages_that_nobody_reads_are_not_followed_by_others() {
    let pool = Pool::of(64 << 20);
    let (open, reader, mut peer) = unread(&pool).await;
    let sent = async {
        for _ in 0..100 {
            peer.send(Message::Binary(vec![0; 4 << 20].into())).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(1), sent).await.expect_err("the client has to wait");
    // One that is used, one that waits, one that would, and the beginning of the next.
    assert!(pool.left() >= (64 - 16) << 20, "{} bytes are held", (64 << 20) - pool.left());
    drop((open, reader));
}

#[tokio::test]
async fn control_frames_between_the_parts_of_a_message_hide_nothing() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let pool = Pool::of(1 << 20);
    let (open, reader, mut peer) = unread(&pool).await;
    let gone = open.gone();
    let parts = async {
        let mut code = OpCode::Data(Data::Binary);
        loop {
            let part = Frame::message(vec![0; 10_000], code, false);
            if peer.send(Message::Frame(part)).await.is_err()
                || peer.send(Message::Ping(Bytes::new())).await.is_err()
            {
                break;
            }
            code = OpCode::Data(Data::Continue);
        }
    };
    tokio::select! {
        () = gone.cancelled() => {}
        () = parts => {}
    }
    assert_eq!(read_all(&mut peer).await.1, Some(CloseCode::Again));
    drop((open, reader));
}
