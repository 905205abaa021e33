use std::time::{Duration, Instant};

use http_body_util::Empty;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::Code;
use tower::{Layer as _, service_fn};

use super::*;
use crate::call::CallLayer;
use crate::metrics::Metrics;

/// That the client gives its call.
const TIME: Duration = Duration::from_millis(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_time_is_over_is_told_that_by_a_thread_that_was_held_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("bound");
    let mute =
        service_fn(|_: Request<Incoming>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let calls = CallLayer { metrics: Metrics::new(Default::default) }.layer(mute);
    // Each time it has looked at a call, the thread is held up, as on a busy machine.
    let held_up = service_fn(move |request| {
        let mut call = calls.clone().call(request);
        std::future::poll_fn(move |context| {
            let answer = call.as_mut().poll(context);
            let since = Instant::now();
            while since.elapsed() < 2 * TIME {
                std::hint::spin_loop();
            }
            answer
        })
    });
    tokio::spawn(serve(listener, held_up, std::future::pending()));
    let stream = UnixStream::connect(&socket).await.expect("connected");
    // tonic's client would look at the clock itself.
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::post("http://localhost/runtime.v1.RuntimeService/Version")
        .header("grpc-timeout", format!("{}m", TIME.as_millis()))
        .body(Empty::<bytes::Bytes>::new())
        .expect("a request");
    let answer = client.send_request(request).await.expect("an answer");
    let status = tonic::Status::from_header_map(answer.headers()).expect("it is in the head");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

/// A frame (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

#[tokio::test]
async fn calls_that_were_given_up_while_we_stood_still_leave_the_connection_alone() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END: u8 = 4 | 1;
    // POST http /, by the static table (RFC 7541, appendix A), and the authority as it is.
    let head = [&[0x83, 0x86, 0x84, 0x41, 9][..], b"localhost"].concat();
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("bound");
    let answering = service_fn(|_: Request<Incoming>| async { Ok(Response::new(Body::empty())) });
    tokio::spawn(serve(listener, answering, std::future::pending()));
    let mut bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[])].concat();
    for stream in (1..).step_by(2).take(100) {
        bytes.extend(frame(HEADERS, END, stream, &head));
        bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    bytes.extend(frame(HEADERS, END, 201, &head));
    let mut stream = UnixStream::connect(&socket).await.expect("connected");
    stream.write_all(&bytes).await.expect("the server reads");
    loop {
        let mut begin = [0; 9];
        stream.read_exact(&mut begin).await.expect("the connection goes on");
        let mut payload = vec![0; u32::from_be_bytes([0, begin[0], begin[1], begin[2]]) as usize];
        stream.read_exact(&mut payload).await.expect("the connection goes on");
        assert_ne!(begin[3], GOAWAY, "{}", String::from_utf8_lossy(&payload));
        if begin[3] == HEADERS && begin[5..] == 201_u32.to_be_bytes() {
            return;
        }
    }
}
