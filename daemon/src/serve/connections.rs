//! gRPC on every connection of the socket: HTTP/2 by hyper, what is asked by tonic's services.
//!
//! Not by tonic's own server: its timer for `grpc-timeout` cannot be switched off, answers CANCELLED, and was heard
//! before ours on a loaded machine (see [`crate::call`]).

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tonic::body::Body;
use tower::Service;

use crate::accept;

/// Of a call's head; kubelet and crictl send some hundred bytes.
const MOST_HEAD_BYTES: u32 = 16 << 10;
/// Calls that were given up before we had looked at them. HTTP/2 ends a connection with more of them, and all its other calls,
/// at 20 by default: against strangers, and whoever can open this socket is root. After the machine, or we, stood still,
/// all probes of that time are given up at once.
const MOST_RESET_CALLS: usize = 1000;

/// Serves until `ended`, and then until the calls under way have ended: the caller says how long that may take.
pub(super) async fn serve<S>(listener: UnixListener, service: S, ended: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let service = TowerToHyperService::new(service);
    let mut http = http2::Builder::new(TokioExecutor::new());
    // The kubelet has all its calls on one connection, and long ones among them: a limit would make short ones wait.
    http.timer(TokioTimer::new())
        .max_concurrent_streams(None)
        .max_header_list_size(MOST_HEAD_BYTES)
        .max_pending_accept_reset_streams(MOST_RESET_CALLS);
    let connections = GracefulShutdown::new();
    let mut ended = std::pin::pin!(ended);
    loop {
        let stream = tokio::select! {
            () = &mut ended => break,
            (stream, _) = accept::next("a connection", || listener.accept()) => stream,
        };
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

#[cfg(test)]
mod tests;
