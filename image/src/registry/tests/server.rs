//! A scripted HTTP server: a closure answers each request, and every request is kept for inspection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::StreamBody;
use http_body_util::combinators::BoxBody;
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

/// First byte of a TLS connection (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 22;

/// One request as it came. `body` is read in full.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// How often this path was asked for before.
    pub(crate) earlier: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What to answer.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Proper,
    /// `Content-Length` promised more; the connection breaks.
    Broken,
    /// `Content-Length` promised more; nothing comes.
    Silent,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into(), end: End::Proper }
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self { status, ..Self::ok(body.to_owned()) }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The last byte is another one.
    pub(crate) fn garbled(mut self) -> Self {
        let mut body = self.body.to_vec();
        if let Some(last) = body.last_mut() {
            *last ^= 1;
        }
        self.body = body.into();
        self
    }

    /// Sends `sent` bytes of the body, then breaks the connection.
    pub(crate) fn broken_after(self, sent: usize) -> Self {
        self.cut(sent, End::Broken)
    }

    /// Sends `sent` bytes of the body, then nothing more.
    pub(crate) fn silent_after(self, sent: usize) -> Self {
        self.cut(sent, End::Silent)
    }

    fn cut(self, sent: usize, end: End) -> Self {
        let length = self.body.len().to_string();
        let body = self.body.slice(..sent);
        Self { body, end, ..self.header("content-length", length) }
    }

    /// The part that the request's `Range` wants, as a server that can would answer.
    pub(crate) fn ranged(body: &[u8], seen: &Seen) -> Self {
        let range = seen.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        match range.and_then(|start| start.parse::<usize>().ok()) {
            None => Self::ok(body.to_vec()),
            Some(start) => Self { status: 206, ..Self::ok(body[start..].to_vec()) }
                .header("content-range", format!("bytes {start}-{}/{}", body.len() - 1, body.len())),
        }
    }

    fn into_response(self) -> Response<BoxBody<Bytes, std::io::Error>> {
        let mut response = Response::builder().status(self.status);
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        let whole = stream::iter([Ok(Frame::data(self.body))]);
        let body = match self.end {
            End::Proper => BoxBody::new(StreamBody::new(whole)),
            End::Broken => {
                // hyper drops what it has not flushed when a body fails at once.
                let error = stream::once(async {
                    tokio::task::yield_now().await;
                    Err(std::io::Error::other("broken on purpose"))
                });
                BoxBody::new(StreamBody::new(whole.chain(error)))
            }
            End::Silent => BoxBody::new(StreamBody::new(whole.chain(stream::pending()))),
        };
        response.body(body).unwrap()
    }
}

/// A running server; ends with the test's runtime.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// In PEM, of one that speaks TLS.
    pub(crate) certificate: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<Vec<Spoken>>>,
}

/// What a client began to speak on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    Tls,
    Plain,
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::serve(None, 0, answer).await
    }

    /// Speaks TLS with a certificate for its address, after it has closed the first `drops` connections.
    pub(crate) async fn start_tls(
        drops: usize,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let server = Self::serve(Some(TlsAcceptor::from(Arc::new(config))), drops, answer).await;
        Self { certificate: made.cert.pem(), ..server }
    }

    async fn serve(
        tls: Option<TlsAcceptor>,
        drops: usize,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, connections) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<Vec<Spoken>>>::default());
        let (log, spoken, answer) = (seen.clone(), connections.clone(), Arc::new(answer));
        tokio::spawn(async move {
            let mut accepted = 0;
            while let Ok((stream, _)) = listener.accept().await {
                accepted += 1;
                let is_dropped = accepted <= drops;
                let (spoken, log, answer, tls) = (spoken.clone(), log.clone(), answer.clone(), tls.clone());
                let service = hyper::service::service_fn(move |request| {
                    let (log, answer) = (log.clone(), answer.clone());
                    async move { Ok::<_, Infallible>(respond(&log, &*answer, request).await) }
                });
                tokio::spawn(async move {
                    let mut first = [0];
                    if !matches!(stream.peek(&mut first).await, Ok(1)) {
                        return;
                    }
                    let is_tls = first[0] == TLS_HANDSHAKE;
                    spoken.lock().unwrap().push(if is_tls { Spoken::Tls } else { Spoken::Plain });
                    if is_dropped {
                        return;
                    }
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = match tls {
                        None => connection.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => connection.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        Self { address, certificate: String::new(), seen, connections }
    }

    /// What each connection began with.
    pub(crate) fn spoken(&self) -> Vec<Spoken> {
        self.connections.lock().unwrap().clone()
    }

    /// Whether `secret` is anywhere in what came.
    pub(crate) fn has_seen(&self, secret: &str) -> bool {
        self.seen().iter().any(|seen| format!("{seen:?}").contains(secret))
    }

    /// `127.0.0.1:port/name:tag`.
    pub(crate) fn reference(&self, rest: &str) -> crate::Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Requests whose path ends so.
    pub(crate) fn asked(&self, end: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.ends_with(end)).collect()
    }
}

async fn respond(
    log: &Mutex<Vec<Seen>>,
    answer: &(dyn Fn(&Seen) -> Answer + Send + Sync),
    request: Request<Incoming>,
) -> Response<BoxBody<Bytes, std::io::Error>> {
    let (parts, body) = request.into_parts();
    let body = http_body_util::BodyExt::collect(body).await.map(|body| body.to_bytes()).unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let seen = {
        let mut log = log.lock().unwrap();
        let seen = Seen {
            method: parts.method.to_string(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            earlier: log.iter().filter(|seen: &&Seen| seen.path == path).count(),
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
            path,
        };
        log.push(seen.clone());
        seen
    };
    answer(&seen).into_response()
}
