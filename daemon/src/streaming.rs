//! The streaming server: the bytes of Exec, Attach and PortForward.
//!
//! An RPC answers a URL with a one-use token; the client (the kubelet for `kubectl exec`, or crictl itself) opens it here,
//! and the HTTP connection becomes a session.
//!
//! ```text
//! Exec ──▶ Desk::url ──▶ http://127.0.0.1:PORT/exec/TOKEN ──▶ Server ──▶ Desk::take ──▶ negotiate ──▶ 101 ──▶ serve
//!          Tickets: once, for a minute                        TLS, HTTP/1.1
//! ```

mod activity;
mod budget;
mod buffer;
mod connection;
mod desk;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod negotiate;
mod port_forward;
mod remote_command;
pub(crate) mod request;
mod room;
mod server;
mod session;
mod spdy;
mod strangers;
mod tickets;
mod tls;
mod websocket;

use std::sync::Arc;

use connection::Speak;
use session::SessionLimits;

use crate::app::App;

pub(crate) use desk::Desk;
pub(crate) use server::Server;
pub(crate) use tickets::TooMany;
pub use tls::TlsError;

/// What the server runs for each connection that has opened a URL.
pub(crate) fn speak(app: &App) -> Speak {
    let (pods, idle) = (app.pods.clone(), app.config.streaming.idle_timeout);
    Arc::new(move |stream, negotiated, ticket, place| {
        let limits = SessionLimits { idle, place: Arc::new(place) };
        Box::pin(session::serve(stream, negotiated, ticket, pods.clone(), limits))
    })
}
