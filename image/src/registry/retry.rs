//! When to try again, and after how long.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// Tries of one request at the last host of a list, the first included.
pub(crate) const MAX_TRIES: u32 = 5;
/// Tries at a host that others follow: they may be better.
pub(crate) const MIRROR_TRIES: u32 = 2;
/// Tests do not wait for the sake of politeness.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 2 } else { 200 });
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// A registry that wants us to wait longer is not available now; the kubelet has its own back-off.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The pause before try number `next` (2 is the first repetition), `None` to give up. What the registry asked
/// for wins over our own back-off.
pub(crate) fn pause(next: u32, max_tries: u32, retry_after: Option<Duration>) -> Option<Duration> {
    if next > max_tries {
        return None;
    }
    match retry_after {
        Some(wanted) if wanted > LONGEST_RETRY_AFTER => None,
        Some(wanted) => Some(wanted),
        None => Some((FIRST_PAUSE * 2_u32.saturating_pow(next.saturating_sub(2))).min(LONGEST_PAUSE)),
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

    #[test]
    fn pauses_grow_and_end() {
        let pauses: Vec<_> = (2..).map_while(|next| pause(next, 5, None)).collect();
        assert_eq!(pauses, [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4, FIRST_PAUSE * 8]);
        assert_eq!(pause(30, 31, None), Some(LONGEST_PAUSE));
        assert_eq!(pause(2, 5, Some(Duration::from_secs(3))), Some(Duration::from_secs(3)));
        assert_eq!(pause(2, 5, Some(Duration::from_secs(3600))), None);
        assert_eq!(pause(6, 5, Some(Duration::ZERO)), None);
    }
}
