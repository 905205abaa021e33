//! Durations as Go writes them: `1m30s`, `500ms`, `1.5h`.

use std::time::Duration;

/// `None` if the text is no duration or is negative.
pub(super) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|at| *at > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let unit_seconds = match &after[..unit_len] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * unit_seconds).ok()?)?;
        rest = &after[unit_len..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_read_as_in_go() {
        let check = |text: &str, millis: Option<u128>| {
            assert_eq!(super::parse(text).map(|d| d.as_millis()), millis, "{text}");
        };
        check("1s", Some(1000));
        check("1m30s", Some(90_000));
        check("500ms", Some(500));
        check("1.5h", Some(5_400_000));
        check("0", Some(0));
        for bad in ["", "1", "s", "-1s", "1x", "1 s", "1e400h", "..s"] {
            check(bad, None);
        }
    }
}
