//! Accepting connections.

use std::io;
use std::time::Duration;

/// The next connection, however long it takes; `what` names it in the log. Cancel safe if `accept` is.
pub(crate) async fn next<T, F: Future<Output = io::Result<T>>>(what: &str, accept: impl Fn() -> F) -> T {
    loop {
        match accept().await {
            Ok(connection) => return connection,
            Err(error) => {
                // Out of file descriptors, most likely: give others the time to close theirs.
                tracing::warn!(%error, "accepting {what} failed");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
