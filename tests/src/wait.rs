//! Waiting for conditions. Nothing here waits for a time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PACE: Duration = Duration::from_millis(10);

/// Asks again until the answer is there, and gives it; fails with the last reason when the deadline has passed.
pub async fn until<T>(what: &str, deadline: Duration, mut ask: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let mut pace = tokio::time::interval(PACE);
    loop {
        pace.tick().await;
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) if started.elapsed() > deadline => bail!("{what}: not within {deadline:?}: {error:#}"),
            Err(_) => {}
        }
    }
}
