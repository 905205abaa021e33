//! When to try again, and after how long.

use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use super::failure::Failure;

/// Tries of one request at the last host of a list, the first included.
const MAX_TRIES: u32 = 5;
/// Tries at a host that others follow, for they may be better; and of a transfer that brought wrong content.
const FEW_TRIES: u32 = 2;
/// Tests do not wait for the sake of politeness.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 200 });
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A registry that wants us to wait longer is not available now; the kubelet has its own back-off.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The tries of one request at one host.
#[derive(Debug)]
pub(crate) struct Tries {
    made: u32,
    is_last_host: bool,
    /// Silence for so long is not prolonged by another try.
    patience: Duration,
    silent_since: Instant,
}

impl Tries {
    pub(crate) fn new(is_last_host: bool, patience: Duration) -> Self {
        Self { made: 1, is_last_host, patience, silent_since: Instant::now() }
    }

    /// Bytes came in since the last failure.
    pub(crate) fn heard(&mut self) {
        self.silent_since = Instant::now();
    }

    /// Waits before the next try, or hands the failure back if there is to be none.
    pub(crate) async fn next(&mut self, failure: Failure) -> Result<(), Failure> {
        self.made += 1;
        match self.pause(&failure) {
            Some(pause) => {
                tracing::debug!(reason = %failure.text, ?pause, "trying the registry again");
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(failure),
        }
    }

    /// What the registry asked for wins over our own back-off.
    fn pause(&self, failure: &Failure) -> Option<Duration> {
        let is_short = !self.is_last_host || failure.error.is_some();
        let max_tries = if is_short { FEW_TRIES } else { MAX_TRIES };
        if !failure.transient || self.made > max_tries {
            return None;
        }
        match failure.retry_after {
            Some(wanted) => (wanted <= LONGEST_RETRY_AFTER).then_some(wanted),
            None if self.silent_since.elapsed() >= self.patience => None,
            None => Some((FIRST_PAUSE * 2_u32.saturating_pow(self.made - 2)).min(LONGEST_PAUSE)),
        }
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 §10.2.3). A date that has passed is no wait.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::failure::Kind;
    use super::*;

    fn header(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())])
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2026 07:28:00 GMT").unwrap();
        let check = |text, expected: Option<u64>| {
            assert_eq!(retry_after(&header(text), now), expected.map(Duration::from_secs), "{text}");
        };
        check("7", Some(7));
        check(" 0 ", Some(0));
        check("Wed, 21 Oct 2026 07:28:30 GMT", Some(30));
        check("Wed, 21 Oct 2026 07:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
    }

    fn pauses(is_last_host: bool, patience: Duration, failure: &Failure) -> Vec<Duration> {
        let mut tries = Tries::new(is_last_host, patience);
        let pauses = std::iter::from_fn(|| {
            tries.made += 1;
            tries.pause(failure)
        });
        pauses.collect()
    }

    #[test]
    fn pauses_grow_and_end() {
        let failure = Failure::new(Kind::Unavailable, String::new());
        let transient = failure.clone().transient();
        let waiting = |seconds| {
            let retry_after = Some(Duration::from_secs(seconds));
            Failure { retry_after, ..transient.clone() }
        };
        let minute = Duration::from_secs(60);
        let grown = [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8];
        assert_eq!(pauses(true, minute, &transient), grown);
        assert_eq!(pauses(false, minute, &transient), grown[..1], "another host follows");
        assert!(pauses(true, minute, &failure).is_empty());
        assert!(pauses(true, Duration::ZERO, &transient).is_empty(), "out of patience");
        assert_eq!(pauses(false, Duration::ZERO, &waiting(3)), [Duration::from_secs(3)]);
        assert!(pauses(true, minute, &waiting(3600)).is_empty());
    }
}
