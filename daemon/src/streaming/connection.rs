//! One connection: TLS if there is some, a request whose URL is a ticket, the answer, and then the session.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument as _, Span, field};

use super::desk::Desk;
use super::negotiate::{Negotiated, Refused, STREAM_PROTOCOL, negotiate};
use super::request::{Kind, Ticket};
use super::room::{Place, Room};
use super::strangers::Stranger;
use super::tickets;
use super::tls::Tls;
use crate::metrics::{Metrics, SessionCount};
use crate::{http1, sys};

/// A connection once it is upgraded.
pub(crate) type Stream = TokioIo<Upgraded>;

/// Speaks what was negotiated, until its end. All of the session is in the future: dropping it ends the session.
pub(crate) type Speak =
    Arc<dyn Fn(Stream, Negotiated, Ticket, Place) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What all connections share.
pub(super) struct Connections {
    pub(super) desk: Desk,
    pub(super) speak: Speak,
    pub(super) metrics: Metrics,
    pub(super) room: Room,
}

/// A request that was granted.
struct Granted {
    upgrade: OnUpgrade,
    negotiated: Negotiated,
    ticket: Ticket,
    place: Place,
}

impl Connections {
    /// Serves one connection until its end. `stranger` is let go as soon as the client has shown a ticket.
    pub(super) async fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<Tls>>,
        stranger: Stranger,
    ) {
        let granted = match tls {
            None => self.http(stream).await,
            Some(tls) => {
                let config = tls.current().await;
                match tokio::time::timeout(http1::INTRODUCTION, TlsAcceptor::from(config).accept(stream))
                    .await
                {
                    Ok(Ok(stream)) => self.http(stream).await,
                    Ok(Err(error)) => return tracing::debug!(%peer, %error, "no TLS with a streaming client"),
                    Err(_) => return tracing::debug!(%peer, "a streaming client said nothing"),
                }
            }
        };
        drop(stranger);
        if let Some(granted) = granted {
            self.session(granted, peer).await;
        }
    }

    async fn http<IO>(&self, io: IO) -> Option<Granted>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let granted = Mutex::new(None);
        let service = service_fn(|request| {
            let answer = match self.grant(request) {
                Ok(new) => {
                    let answer = switching(&new.negotiated.headers);
                    *granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
                    answer
                }
                Err(refused) => refusal(refused),
            };
            std::future::ready(Ok::<_, Infallible>(answer))
        });
        if let Err(error) = http1::server().serve_connection(TokioIo::new(io), service).with_upgrades().await
        {
            tracing::debug!(%error, "a streaming connection broke");
        }
        granted.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn grant(&self, mut request: Request<Incoming>) -> Result<Granted, Refused> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, _) = request.into_parts();
        let (kind, token) = place(head.uri.path())
            .ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "no such path on the streaming server"))?;
        if head.method != Method::GET && head.method != Method::POST {
            let mut answer =
                Refused::new(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST open a streaming URL");
            answer.headers.push((ALLOW, HeaderValue::from_static("GET, POST")));
            return Err(answer);
        }
        let ticket = self.desk.take(kind, token).ok_or_else(|| {
            let message = format!(
                "this URL was opened before, is older than {} s, or was never given",
                tickets::LIFETIME.as_secs()
            );
            Refused::new(StatusCode::NOT_FOUND, message)
        })?;
        let negotiated = negotiate(&head, &ticket)?;
        let place = self.room.place(&ticket).map_err(|full| {
            tracing::warn!(rpc = ticket.kind().rpc(), id = ticket.subject().1, reason = %full, "streaming session refused");
            let mut answer = Refused::new(StatusCode::TOO_MANY_REQUESTS, full.to_string());
            answer.headers.push((RETRY_AFTER, HeaderValue::from(tickets::LIFETIME.as_secs())));
            answer
        })?;
        Ok(Granted { upgrade, negotiated, ticket, place })
    }

    async fn session(&self, granted: Granted, peer: SocketAddr) {
        let Granted { upgrade, negotiated, ticket, place } = granted;
        let span = span(&ticket, &negotiated.headers, peer);
        let session = async {
            let _session = Session::start(ticket.kind(), &self.metrics);
            match upgrade.await {
                Ok(upgraded) => (self.speak)(TokioIo::new(upgraded), negotiated, ticket, place).await,
                Err(error) => tracing::debug!(%error, "a streaming client left while it was answered"),
            }
        };
        session.instrument(span).await;
        // Many at once leave holes in the heap: after 200 downloads at a time the daemon kept a sixth more than before.
        if self.metrics.open_sessions() == 0 {
            tokio::task::spawn_blocking(sys::give_back_memory);
        }
    }
}

/// An open session; its end, of whatever kind, is counted and logged.
struct Session {
    since: Instant,
    span: Span,
    _count: SessionCount,
}

impl Session {
    fn start(kind: Kind, metrics: &Metrics) -> Self {
        tracing::info!("session started");
        Self { since: Instant::now(), span: Span::current(), _count: metrics.session(kind.rpc()) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.span.in_scope(|| tracing::info!(after = ?self.since.elapsed(), "session ended"));
    }
}

fn span(ticket: &Ticket, headers: &HeaderMap, peer: SocketAddr) -> Span {
    const PROTOCOLS: [HeaderName; 2] = [http::header::SEC_WEBSOCKET_PROTOCOL, STREAM_PROTOCOL];
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let span = tracing::info_span!(
        "session",
        rpc = ticket.kind().rpc(),
        container_id = field::Empty,
        sandbox_id = field::Empty,
        transport = text(&UPGRADE),
        protocol = PROTOCOLS.iter().find_map(text),
        %peer,
    );
    if let Some(id) = ticket.container_id() {
        span.record("container_id", id.as_str());
    }
    if let Some(id) = ticket.sandbox_id() {
        span.record("sandbox_id", id.as_str());
    }
    span
}

/// `/exec/TOKEN`
fn place(path: &str) -> Option<(Kind, &str)> {
    let (kind, token) = path.strip_prefix('/')?.split_once('/')?;
    Some((Kind::of_path(kind)?, token))
}

fn switching(headers: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers.clone();
    response
}

/// And goodbye: a client that gets it wrong starts anew, with another URL.
fn refusal(refused: Refused) -> Response<Full<Bytes>> {
    tracing::debug!(status = refused.status.as_u16(), refused.message, "streaming request refused");
    let mut response = Response::new(Full::from(refused.message + "\n"));
    *response.status_mut() = refused.status;
    let headers = response.headers_mut();
    headers.extend(refused.headers);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
