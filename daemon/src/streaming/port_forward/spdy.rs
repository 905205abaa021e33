//! Connections as pairs of streams in a SPDY session.

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::pairs::{Matched, Pair, Pairs, Purpose};
use super::relay::{Until, relay};
use super::{Connect, Target};
use crate::streaming::budget::Pool;
use crate::streaming::spdy::{Incoming, Session, Stream};

/// Of a connection's name; clients count.
const MOST_REQUEST_BYTES: usize = 256;

/// Serves the client's connections until it closes the session. Dropping it ends all of them.
pub(crate) async fn over_spdy<C: Connect>(mut session: Session, target: Target<C>) {
    let pool = session.pool().clone();
    let mut pairs = Pairs::new();
    let mut connections = JoinSet::new();
    loop {
        let deadline = pairs.deadline();
        tokio::select! {
            incoming = session.accept() => match incoming {
                Some(incoming) => take(incoming, &mut pairs, &mut connections, (&target, &pool)),
                None => return,
            },
            () = sleep_until(deadline) => {
                for (request, stream) in pairs.expire(Instant::now()) {
                    let text = format!("the data stream of request {request} did not come in time");
                    connections.spawn(say(stream, text));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Never, without a deadline.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn take<C: Connect>(
    incoming: Incoming,
    pairs: &mut Pairs<Stream>,
    connections: &mut JoinSet<()>,
    (target, pool): (&Target<C>, &Pool),
) {
    let Some((request, purpose, port)) = read_headers(&incoming) else { return incoming.refuse() };
    if request.len() > MOST_REQUEST_BYTES || !pairs.has_room(&request) {
        tracing::debug!(sandbox_id = %target.sandbox, port, "a stream is refused: its request ID is too long, or too many wait");
        return incoming.refuse();
    }
    match pairs.add(&request, purpose, port, incoming.accept(), Instant::now()) {
        Matched::Waiting => {}
        Matched::Complete(pair) => {
            connections.spawn(forward(pair, target.clone(), pool.clone()));
        }
        Matched::Contradiction(Some(stream), why) => {
            connections.spawn(say(stream, format!("request {request}: {why}")));
        }
        Matched::Contradiction(None, _) => {}
    }
}

/// Which connection a stream belongs to, what it is for, and the port.
fn read_headers(incoming: &Incoming) -> Option<(String, Purpose, u16)> {
    let port = incoming.header("port")?.parse().ok().filter(|port| *port != 0)?;
    let purpose = match incoming.header("streamtype")? {
        "data" => Purpose::Data,
        "error" => Purpose::Error,
        _ => return None,
    };
    let request = match incoming.header("requestid") {
        Some(request) if !request.is_empty() => request.to_owned(),
        // Clients older than Kubernetes 1.1 name no request: the error stream is followed by the data stream.
        _ => match purpose {
            Purpose::Error => incoming.id().to_string(),
            Purpose::Data => incoming.id().saturating_sub(2).to_string(),
        },
    };
    Some((request, purpose, port))
}

async fn forward<C: Connect>(pair: Pair<Stream>, target: Target<C>, pool: Pool) {
    let Pair { port, data, error: mut error_stream } = pair;
    match target.connect(port).await {
        Ok((pod, _place)) => {
            let outcome = relay(tokio::io::split(data), pod, Until::BothEnd, &pool).await;
            if let Err(error) = outcome {
                // Not on the error stream: a reset is how many programs hang up, and clients close all their connections
                // when they read of an error.
                tracing::debug!(sandbox_id = %target.sandbox, port, %error, "forwarded connection was reset by the pod");
            }
        }
        Err(text) => {
            tracing::debug!(sandbox_id = %target.sandbox, port, error = text, "port not forwarded");
            // The data stream is dropped, and so reset: what the client has sent on it goes nowhere.
            drop(data);
            let _ = error_stream.write_all(text.as_bytes()).await;
        }
    }
    let _ = error_stream.shutdown().await;
}

async fn say(mut stream: Stream, text: String) {
    if stream.write_all(text.as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}
