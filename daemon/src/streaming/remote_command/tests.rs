use std::future::ready;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use linkspan_pod_sandbox::StreamSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::streaming::websocket::{self, Channels, Encoding};

const LONG: Duration = Duration::from_secs(3600);
const ALL: StreamSet = StreamSet { stdin: true, stdout: true, stderr: true, tty: false };

type Sizes = mpsc::UnboundedSender<TerminalSize>;

impl Resize for Sizes {
    async fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        let _ = self.send(size);
        Ok(())
    }
}

impl ProcessInput for DuplexStream {
    fn unread(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// An input whose readers have all ended.
struct Unread(tokio::io::Sink);

impl AsyncWrite for Unread {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl ProcessInput for Unread {
    fn unread(&mut self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}

/// The inside of a process: the other ends of what a client is joined to.
struct Inside<T> {
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
    sizes: mpsc::UnboundedReceiver<TerminalSize>,
    /// Closed when the process is told that its client has left.
    end: oneshot::Sender<Result<T, Error>>,
}

fn process<T>() -> (Process<impl Future<Output = Result<T, Error>> + Send, Sizes>, Inside<T>)
where
    T: Send + 'static,
{
    let [stdin, stdout, stderr] = [(); 3].map(|()| tokio::io::duplex(64 << 10));
    let (sizes, seen) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let process = Process {
        stdin: Some(Box::new(stdin.0) as Box<dyn ProcessInput>),
        stdout: Some(Box::new(stdout.0) as BoxRead),
        stderr: Some(Box::new(stderr.0) as BoxRead),
        resizer: Some(sizes),
        end: async { ended.await.expect("the inside says how it ends") },
    };
    (process, Inside { stdin: stdin.1, stdout: stdout.1, stderr: stderr.1, sizes: seen, end })
}

/// A client's ends of its streams.
struct Outside {
    stdin: DuplexStream,
    stdout: DuplexStream,
    stderr: DuplexStream,
    resize: DuplexStream,
    error: DuplexStream,
    gone: CancellationToken,
}

fn client() -> (Client, Outside) {
    let [stdin, stdout, stderr, resize, error] = [(); 5].map(|()| tokio::io::duplex(64 << 10));
    let gone = CancellationToken::new();
    let client = Client {
        stdin: Some(Box::new(stdin.0)),
        stdout: Some(Box::new(stdout.0)),
        stderr: Some(Box::new(stderr.0)),
        resize: Some(Box::new(resize.0)),
        end: EndSink { stream: Box::new(error.0), version: Version::V4, others: Vec::new() },
        gone: gone.clone(),
        pool: Pool::new(),
    };
    let outside = Outside {
        stdin: stdin.1,
        stdout: stdout.1,
        stderr: stderr.1,
        resize: resize.1,
        error: error.1,
        gone,
    };
    (client, outside)
}

async fn text(mut stream: impl AsyncRead + Unpin) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

fn exit_code(code: i32) -> String {
    String::from_utf8(Status::of_exit_code(code).render(Version::V4)).unwrap()
}

#[tokio::test]
async fn exec_carries_all_streams_and_then_the_exit_code() {
    let ((client, mut outside), (process, mut inside)) = (client(), process());
    let user = async {
        outside.stdin.write_all(b"question").await.unwrap();
        outside.stdin.shutdown().await.unwrap();
        let all = tokio::join!(text(outside.stdout), text(outside.stderr), text(outside.error));
        (all.0, all.1, all.2)
    };
    let program = async {
        let question = text(inside.stdin).await;
        inside.stdout.write_all(b"answer").await.unwrap();
        inside.stderr.write_all(b"complaint").await.unwrap();
        drop((inside.stdout, inside.stderr));
        inside.end.send(Ok(3)).unwrap();
        question
    };
    let (told, question, ()) = tokio::join!(user, program, run_exec(client, process, ready(())));
    assert_eq!(question, "question");
    assert_eq!(told, ("answer".to_owned(), "complaint".to_owned(), exit_code(3)));
}

#[tokio::test]
async fn exec_ends_with_the_process_though_input_and_output_stay_open() {
    let ((client, mut outside), (process, mut inside)) = (client(), process());
    let program = async {
        inside.stdout.write_all(b"the last words").await.unwrap();
        inside.end.send(Ok(0)).unwrap();
    };
    tokio::join!(program, run_exec(client, process, ready(())));
    // Somebody else still holds the output.
    assert!(inside.stdout.write_all(b"more").await.is_err());
    assert_eq!(text(outside.stdout).await, "the last words");
    assert_eq!(text(outside.error).await, r#"{"status":"Success"}"#);
    assert!(outside.stdin.write_all(b"nobody").await.is_err());
}

#[tokio::test]
async fn a_process_that_is_left_is_told_before_it_sees_the_end_of_its_input() {
    let ((client, outside), (process, mut inside)) = (client(), process::<i32>());
    let told = async {
        outside.gone.cancel();
        inside.end.closed().await;
        let mut byte = [0; 1];
        assert!(tokio::time::timeout(Duration::from_millis(50), inside.stdin.read(&mut byte)).await.is_err());
        assert_eq!(inside.stdin.read(&mut byte).await.unwrap(), 0);
    };
    tokio::join!(told, run_exec(client, process, ready(())));
}

/// What another session of the container may be waiting for.
#[tokio::test]
async fn a_session_that_is_left_lasts_no_longer_than_somebody_reads_its_input() {
    let begun = Instant::now();
    let ((client, outside), (mut process, inside)) = (client(), process::<i32>());
    outside.gone.cancel();
    process.stdin = Some(Box::new(Unread(tokio::io::sink())));
    run_exec(client, process, ready(())).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    drop(inside);
}

#[tokio::test]
async fn input_that_breaks_off_is_no_end_of_input() {
    struct Broken;
    impl AsyncRead for Broken {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
        }
    }
    let ((mut client, outside), (process, mut inside)) = (client(), process());
    client.stdin = Some(Box::new(Broken));
    let program = async {
        let mut byte = [0; 1];
        assert!(tokio::time::timeout(Duration::from_millis(50), inside.stdin.read(&mut byte)).await.is_err());
        inside.end.send(Ok(0)).unwrap();
    };
    tokio::join!(program, run_exec(client, process, ready(())));
    assert_eq!(text(outside.error).await, r#"{"status":"Success"}"#);
}

#[tokio::test]
async fn input_that_the_process_does_not_take_holds_up_nothing() {
    let ((client, mut outside), (process, mut inside)) = (client(), process());
    let user = async {
        outside.stdin.write_all(&vec![7; 1_000_000]).await.unwrap();
        outside.resize.write_all(br#"{"Width":80,"Height":24}"#).await.unwrap();
        text(outside.error).await
    };
    let program = async {
        drop(inside.stdin);
        let size = inside.sizes.recv().await.unwrap();
        inside.end.send(Ok(130)).unwrap();
        size
    };
    let (told, size, ()) = tokio::join!(user, program, run_exec(client, process, ready(())));
    assert_eq!((told, size), (exit_code(130), TerminalSize { columns: 80, rows: 24 }));
}

#[tokio::test]
async fn output_that_the_client_does_not_take_breaks_the_pipe() {
    let ((client, outside), (process, mut inside)) = (client(), process());
    drop(outside.stdout);
    let program = async {
        while inside.stdout.write_all(b"y\n").await.is_ok() {}
        inside.end.send(Ok(141)).unwrap();
    };
    let (told, (), ()) = tokio::join!(text(outside.error), program, run_exec(client, process, ready(())));
    assert_eq!(told, exit_code(141));
}

#[tokio::test]
async fn what_cannot_be_run_is_told_with_the_reason() {
    let ((client, outside), (process, inside)) = (client(), process::<i32>());
    inside.end.send(Err(Error::NoSuchContainer("c1".into()))).unwrap();
    let (told, ()) = tokio::join!(text(outside.error), run_exec(client, process, ready(())));
    assert!(told.contains(r#"no container \"c1\""#) && told.contains("InternalError"), "{told}");
}

#[tokio::test]
async fn attach_ends_with_the_clients_input() {
    let ((client, mut outside), (process, mut inside)) = (client(), process::<()>());
    let user = async {
        outside.stdin.write_all(b"question").await.unwrap();
        outside.stdin.shutdown().await.unwrap();
        (text(outside.stdout).await, text(outside.error).await)
    };
    let container = async {
        // What it says to the last of the input still arrives.
        let question = text(&mut inside.stdin).await;
        inside.stdout.write_all(b"answer").await.unwrap();
        question
    };
    let (told, question, ()) = tokio::join!(user, container, run_attach(client, process, true));
    assert_eq!(question, "question");
    assert_eq!(told, ("answer".to_owned(), r#"{"status":"Success"}"#.to_owned()));
}

#[tokio::test]
async fn attach_goes_on_if_the_container_sees_the_end_of_input() {
    let ((client, mut outside), (process, mut inside)) = (client(), process::<()>());
    let user = async {
        outside.stdin.shutdown().await.unwrap();
        (text(outside.stdout).await, text(outside.error).await)
    };
    let container = async {
        assert_eq!(text(&mut inside.stdin).await, "");
        assert!(tokio::time::timeout(Duration::from_millis(400), inside.end.closed()).await.is_err());
        inside.stdout.write_all(b"a late answer").await.unwrap();
        inside.end.send(Ok(())).unwrap();
        drop((inside.stdout, inside.stderr));
    };
    let (told, (), ()) = tokio::join!(user, container, run_attach(client, process, false));
    assert_eq!(told, ("a late answer".to_owned(), r#"{"status":"Success"}"#.to_owned()));
}

#[tokio::test]
async fn attach_leaves_the_container_when_the_client_leaves() {
    let ((client, outside), (process, mut inside)) = (client(), process::<()>());
    let ((), ()) = tokio::join!(run_attach(client, process, false), async { outside.gone.cancel() });
    inside.end.closed().await;
}

/// What a WebSocket client of this version reads when the command echoes its input and exits with 3: messages, as text.
async fn echo_over_websocket(version: Version, encoding: Encoding, input: &[Message]) -> Vec<String> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let layout = Layout { version, streams: ALL, idle: LONG };
    let channels = Channels::new(encoding, version >= Version::V5, &Pool::new());
    let (process, inside) = process();
    let server = over_channels(websocket::accept(ours, &Pool::new()).await, channels, layout, |client| {
        run_exec(client, process, ready(()))
    });
    let mut peer = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let user = async {
        for message in input {
            peer.send(message.clone()).await.unwrap();
        }
        let mut told = Vec::new();
        while let Some(Ok(message)) = peer.next().await {
            told.push(String::from_utf8(message.into_data().to_vec()).unwrap());
        }
        told
    };
    let Inside { mut stdin, mut stdout, end, .. } = inside;
    let program = async {
        let mut bytes = [0; 5];
        stdin.read_exact(&mut bytes).await.unwrap();
        if version == Version::V5 {
            assert_eq!(stdin.read(&mut [0; 1]).await.unwrap(), 0);
        }
        stdout.write_all(&bytes).await.unwrap();
        drop(stdout);
        end.send(Ok(3)).unwrap();
    };
    tokio::join!(user, program, server).0
}

#[tokio::test]
async fn over_websocket_each_version_says_it_in_its_own_way() {
    const NORMAL: &str = "\u{3}\u{e8}";
    let binary = |bytes: &'static [u8]| Message::Binary(Bytes::from_static(bytes));
    let message = "command terminated with non-zero exit code: exit status 3";
    for (version, encoding, input, expected) in [
        (
            Version::V5,
            Encoding::Binary,
            vec![binary(b"\0hello"), binary(&[255, 0])],
            ["\u{1}".to_owned(), "\u{1}hello".to_owned(), format!("\u{3}{}", exit_code(3))],
        ),
        (
            Version::V4,
            Encoding::Binary,
            vec![binary(b"\0hel"), binary(b"\0lo")],
            ["\u{1}".to_owned(), "\u{1}hello".to_owned(), format!("\u{3}{}", exit_code(3))],
        ),
        (
            Version::V1,
            Encoding::Base64,
            vec![Message::text("0aGVsbG8=")],
            [
                "1".to_owned(),
                "1aGVsbG8=".to_owned(),
                "3Y29tbWFuZCB0ZXJtaW5hdGVkIHdpdGggbm9uLXplcm8gZXhpdCBjb2RlOiBleGl0IHN0YXR1cyAz".to_owned(),
            ],
        ),
        (
            Version::V3,
            Encoding::Binary,
            vec![binary(b"\0hello")],
            ["\u{1}".to_owned(), "\u{1}hello".to_owned(), format!("\u{3}{message}")],
        ),
    ] {
        let told = echo_over_websocket(version, encoding, &input).await;
        assert_eq!(told[..3], expected, "{version:?}");
        // The code of a close frame, which has no text here.
        assert!(told[3..].iter().all(|rest| rest.is_empty() || rest == NORMAL), "{told:?}");
    }
}
