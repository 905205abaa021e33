use std::time::{Duration, Instant};

use http_body_util::Empty;
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
    let calls = CallLayer { metrics: Metrics::new() }.layer(mute);
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
