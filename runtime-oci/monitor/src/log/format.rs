//! CRI's log format: `<RFC 3339 time with nanoseconds> <stdout|stderr> <P|F> <content>\n`.
//!
//! A line is written when its newline has come, or when it has grown past the limit: `P` says that more of it
//! follows, `F` that it ends here. Output that ends without a newline is a `P` that nothing follows. Every byte but
//! the newlines is kept as it came.

use linkspan_monitor::protocol::Rfc3339;

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

#[cfg(test)]
mod tests;
