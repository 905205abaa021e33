//! The server on a real socket. What a session speaks is replaced by an echo.

use linkspan_config::{Place, Sources};
use linkspan_pod_sandbox::model::SandboxId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::*;
use crate::streaming::request::Ticket;
use crate::streaming::room::MOST_OF_ONE;

const UPGRADE: &str =
    "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\n";
const NO_UPGRADE: &str = "";

struct Served {
    desk: Desk,
    address: SocketAddr,
    serving: Serving,
    metrics: Metrics,
    /// One for each session, when it begins.
    begun: mpsc::UnboundedReceiver<Ticket>,
}

impl Served {
    async fn start() -> Self {
        Self::with_room_for(10).await
    }

    async fn with_room_for(sessions: usize) -> Self {
        let nowhere = Sources { place: Place::below("/nowhere"), ..Sources::default() };
        let config = linkspan_config::load(&nowhere).unwrap().config.streaming;
        let mut server = Server::bind(&config).await.unwrap();
        server.room = Room::of(sessions, 0);
        let (desk, address) = (server.desk(), server.listener.local_addr().unwrap());
        let (begins, begun) = mpsc::unbounded_channel();
        let speak: Speak = Arc::new(move |stream, _, ticket, place| {
            begins.send(ticket).unwrap();
            Box::pin(async move {
                let _place = place;
                let (mut reader, mut writer) = tokio::io::split(stream);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            })
        });
        let metrics = Metrics::new(Default::default);
        let serving = server.start(metrics.clone(), speak);
        Self { desk, address, serving, metrics, begun }
    }

    /// The path of a URL that was just given out.
    fn path(&self) -> String {
        let url = self.desk.url(ticket()).unwrap();
        url.strip_prefix(&format!("http://{}", self.address)).unwrap().to_owned()
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A request, and all that is answered until the server closes.
    async fn refused(&self, line: &str, headers: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request(line, headers).as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A request that is granted: the connection, after the answer's head.
    async fn upgraded(&self, line: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(request(line, UPGRADE).as_bytes()).await.unwrap();
        let head = head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let lower = head.to_lowercase();
        assert!(lower.contains("\r\nconnection: upgrade\r\n"), "{head}");
        assert!(lower.contains("\r\nupgrade: spdy/3.1\r\n"), "{head}");
        stream
    }
}

fn ticket() -> Ticket {
    Ticket::PortForward { sandbox: SandboxId::try_from("a".repeat(64)).unwrap(), ports: vec![80] }
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn check(answer: &str, status: &str, text: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert!(head.contains("content-type: text/plain"), "{answer}");
    assert!(body.contains(text) && body.ends_with('\n'), "{answer}");
}

#[tokio::test]
async fn a_url_can_be_opened_once_by_get_or_post() {
    let mut served = Served::start().await;
    for method in ["GET", "POST"] {
        let line = format!("{method} {}", served.path());
        let mut stream = served.upgraded(&line).await;
        assert_eq!(served.begun.recv().await, Some(ticket()));
        stream.write_all(b"to and fro").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "to and fro");
        check(&served.refused(&line, UPGRADE).await, "404", "opened before");
    }
    served.serving.end().await;
}

#[tokio::test]
async fn what_was_never_given_is_not_found() {
    let served = Served::start().await;
    let unknown = format!("GET /exec/{}", "A".repeat(43));
    check(&served.refused(&unknown, UPGRADE).await, "404", "never given");
    for path in ["/", "/exec", "/exec/", "/cri/exec/x", "/run/x"] {
        check(&served.refused(&format!("GET {path}"), UPGRADE).await, "404", "");
    }
    let other_kind = served.path().replace("portforward", "exec");
    check(&served.refused(&format!("GET {other_kind}"), UPGRADE).await, "404", "never given");
    served.serving.end().await;
}

#[tokio::test]
async fn a_request_that_cannot_become_a_session_says_why() {
    let served = Served::start().await;
    let path = served.path();
    let answer = served.refused(&format!("DELETE {path}"), UPGRADE).await;
    check(&answer, "405", "GET and POST");
    assert!(answer.contains("allow: GET, POST"), "{answer}");
    check(&served.refused(&format!("GET {path}"), NO_UPGRADE).await, "400", "upgrade");
    let strange = UPGRADE.replace("portforward", "teleport");
    check(&served.refused(&format!("GET {}", served.path()), &strange).await, "403", "teleport");
    served.serving.end().await;
}

#[tokio::test]
async fn what_follows_the_request_at_once_belongs_to_the_session() {
    let served = Served::start().await;
    let mut stream = served.connect().await;
    let text = request(&format!("GET {}", served.path()), UPGRADE) + "early";
    stream.write_all(text.as_bytes()).await.unwrap();
    head(&mut stream).await;
    let mut early = [0; 5];
    stream.read_exact(&mut early).await.unwrap();
    assert_eq!(&early, b"early");
    served.serving.end().await;
}

#[tokio::test]
async fn open_sessions_are_counted_and_end_with_the_server() {
    let mut served = Served::start().await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(served.upgraded(&format!("GET {}", served.path())).await);
        served.begun.recv().await.unwrap();
    }
    assert_eq!(served.metrics.open_sessions(), 3);
    let text = served.metrics.text();
    assert!(text.contains("linkspan_streaming_sessions{rpc=\"PortForward\"} 3\n"), "{text}");
    served.serving.end().await;
    for mut stream in streams {
        // A reset is an end as well.
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    assert_eq!(served.metrics.open_sessions(), 0);
    TcpStream::connect(served.address).await.expect_err("nobody listens any more");
}

#[tokio::test]
async fn one_session_too_many_is_refused() {
    let served = Served::with_room_for(1).await;
    let stream = served.upgraded(&format!("POST {}", served.path())).await;
    let answer = served.refused(&format!("POST {}", served.path()), UPGRADE).await;
    check(&answer, "429", "too many");
    drop(stream);
    served.serving.end().await;
}

#[tokio::test]
async fn sessions_of_one_pod_leave_room_for_another() {
    let served = Served::with_room_for(200).await;
    let mut streams = Vec::new();
    for _ in 0..MOST_OF_ONE {
        streams.push(served.upgraded(&format!("POST {}", served.path())).await);
    }
    let answer = served.refused(&format!("POST {}", served.path()), UPGRADE).await;
    check(&answer, "429", "too many streaming sessions of this pod are open (64)");
    assert!(answer.contains("retry-after: "), "{answer}");
    let other =
        Ticket::PortForward { sandbox: SandboxId::try_from("b".repeat(64)).unwrap(), ports: vec![80] };
    let url = served.desk.url(other).unwrap();
    served
        .upgraded(&format!("POST {}", url.strip_prefix(&format!("http://{}", served.address)).unwrap()))
        .await;
    served.serving.end().await;
}
