//! `GET /metrics` over HTTP, one request for each connection.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::{accept, http1};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// More wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 16;
/// For the request and the answer; a scrape gives up after ten seconds by default.
const CONNECTION_LIFE: Duration = Duration::from_secs(30);
/// How long an answer may still take once the daemon ends.
const GRACE: Duration = Duration::from_secs(1);

/// The endpoint at work.
pub(crate) struct Serving {
    told: CancellationToken,
    task: JoinHandle<()>,
}

/// Serves, in a task of its own.
pub(crate) fn start(listener: TcpListener, metrics: Metrics) -> Serving {
    let told = CancellationToken::new();
    let task = tokio::spawn(serve(listener, metrics, told.clone()));
    Serving { told, task }
}

impl Serving {
    /// Takes no more connections, and lets those that there are have their answers, for a while.
    pub(crate) async fn end(self) {
        self.told.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the metrics endpoint broke");
        }
    }
}

async fn serve(listener: TcpListener, metrics: Metrics, told: CancellationToken) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = told.cancelled() => break,
            Some(_) = tasks.join_next() => {}
            (stream, place) = next(&listener, &room) => {
                tasks.spawn(connection(stream, metrics.clone(), place));
            }
        }
    }
    drop(listener);
    let answered = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, answered).await;
}

/// The next connection, once there is room for it. Cancel safe.
async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    let place = room.clone().acquire_owned().await.expect("nobody closes it");
    let (stream, _) = accept::next("a metrics connection", || listener.accept()).await;
    (stream, place)
}

async fn connection(stream: TcpStream, metrics: Metrics, _place: OwnedSemaphorePermit) {
    let service = service_fn(|request| {
        let answer = answer(&request, &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut server = http1::server();
    let served = server.keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_LIFE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a metrics connection broke"),
        Err(_) => tracing::debug!(after = ?CONNECTION_LIFE, "timeout of a metrics connection"),
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, OPENMETRICS, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "text/plain", "only GET /metrics is here\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;
