//! CRI's log format: `<RFC 3339 time with nanoseconds> <stdout|stderr> <P|F> <content>\n`.
//!
//! A line is written when its newline has come, or when it has grown past the limit: `P` says that more of it
//! follows, `F` that it ends here. Output that ends without a newline is a `P` that nothing follows. Every byte but
//! the newlines is kept as it came.

/// Whose output it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Remembers each stream's begun line.
pub(crate) struct Formatter {
    max_line_bytes: usize,
    /// By stream; allocated only while a line is begun.
    begun: [Vec<u8>; 2],
}

impl Formatter {
    pub(crate) fn new(max_line_bytes: usize) -> Self {
        Self { max_line_bytes, begun: [Vec::new(), Vec::new()] }
    }

    /// Appends the complete lines of `data` to `out`.
    pub(crate) fn feed(&mut self, stream: Stream, now_ns: i64, data: &[u8], out: &mut Vec<u8>) {
        let prefix = format!("{} {} ", Rfc3339(now_ns), stream.name());
        let max = self.max_line_bytes;
        let begun = &mut self.begun[stream as usize];
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            let (mut line, ends) = match piece {
                [line @ .., b'\n'] => (line, true),
                line => (line, false),
            };
            // A line of exactly the limit is not split: its newline may be the next byte.
            while begun.len() + line.len() > max {
                let (fits, rest) = line.split_at(max - begun.len());
                emit(out, &prefix, "P ", &std::mem::take(begun), fits);
                line = rest;
            }
            if ends {
                emit(out, &prefix, "F ", &std::mem::take(begun), line);
            } else {
                begun.extend_from_slice(line);
            }
        }
    }

    /// Appends the begun lines.
    pub(crate) fn finish(&mut self, now_ns: i64, out: &mut Vec<u8>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.begun[stream as usize]);
            if !begun.is_empty() {
                emit(out, &format!("{} {} ", Rfc3339(now_ns), stream.name()), "P ", &begun, &[]);
            }
        }
    }
}

fn emit(out: &mut Vec<u8>, prefix: &str, tag: &str, begun: &[u8], rest: &[u8]) {
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(begun);
    out.extend_from_slice(rest);
    out.push(b'\n');
}

/// UTC, always nine digits: readers take any, and sorting by text sorts by time.
struct Rfc3339(i64);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, nanoseconds) = (self.0.div_euclid(1_000_000_000), self.0.rem_euclid(1_000_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{nanoseconds:09}Z", second % 60)
    }
}

/// The date of a day after 1970-01-01, by 400-year eras that start in March (Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
