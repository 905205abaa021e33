//! Small bodies, read whole.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::failure::{Failure, Kind};

/// Reads a body of at most `limit` bytes; silence longer than `timeout` is a failure. `name` names the request.
pub(crate) async fn read(
    name: &str,
    mut response: Response,
    limit: usize,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    let mut whole = BytesMut::new();
    loop {
        match tokio::time::timeout(timeout, response.chunk()).await {
            Err(_) => return Err(Failure::new(Kind::TimedOut, format!("{name}: the answer stopped"))),
            Ok(Err(error)) => return Err(Failure::transport(name, error)),
            Ok(Ok(None)) => return Ok(whole.freeze()),
            Ok(Ok(Some(chunk))) if whole.len() + chunk.len() > limit => {
                let text = format!("{name}: the answer is longer than {limit} bytes");
                return Err(Failure::new(Kind::Unavailable, text));
            }
            Ok(Ok(Some(chunk))) => whole.extend_from_slice(&chunk),
        }
    }
}
