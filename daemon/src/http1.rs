//! HTTP/1.1 servers: how long a client may take to say what it wants, and how much it may say.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;

/// A client that has not said within this time what it wants is none.
pub(crate) const INTRODUCTION: Duration = Duration::from_secs(10);
/// Of a request's head. Those of kubectl, the kubelet and Prometheus are a few hundred bytes.
const MOST_HEAD_BYTES: usize = 64 * 1024;

/// For one connection. Without its timer hyper waits for a head as long as the client likes.
pub(crate) fn server() -> http1::Builder {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(INTRODUCTION).max_buf_size(MOST_HEAD_BYTES);
    server
}
