//! Progress of a pull or a load: a bar on a terminal, a line for each step elsewhere.

use std::io::{IsTerminal as _, Write as _, stderr};

use crate::admin::Progress;
use crate::admin::progress::Stage;

/// Draws on standard error, so that standard output has the result alone.
pub(super) struct Bar {
    what: String,
    terminal: bool,
    /// What was last written as a line, so that nothing is said twice.
    last: (Stage, u64),
    drawn: bool,
}

const WIDTH: u64 = 24;

impl Bar {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            terminal: stderr().is_terminal(),
            last: (Stage::Resolving, 0),
            drawn: false,
        }
    }

    pub(super) fn show(&mut self, progress: &Progress) {
        let mut out = stderr().lock();
        // Progress is for the eye: nothing depends on it being written.
        if self.terminal {
            self.drawn = true;
            let _ = write!(out, "\r\x1b[K{}", line(&self.what, progress));
            let _ = out.flush();
        } else if (progress.stage(), progress.layers_done) != self.last {
            self.last = (progress.stage(), progress.layers_done);
            let _ = writeln!(out, "{}", plain(&self.what, progress));
        }
    }

    /// Leaves the line to whatever is written next.
    pub(super) fn end(self) {
        if self.drawn {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, progress: &Progress) -> String {
    let Progress { layers_done, layers_total, bytes_done, bytes_total, .. } = progress;
    match progress.stage() {
        Stage::Resolving => format!("{what}: asking for the manifest"),
        Stage::Fetching if *bytes_total > 0 => format!(
            "{what}: {} {} of {}, layer {layers_done} of {layers_total}",
            bar(*bytes_done, *bytes_total),
            size(*bytes_done),
            size(*bytes_total),
        ),
        Stage::Fetching => format!("{what}: {}, layer {layers_done} of {layers_total}", size(*bytes_done)),
        Stage::Recording | Stage::Done => format!("{what}: recording"),
    }
}

fn plain(what: &str, progress: &Progress) -> String {
    match progress.stage() {
        Stage::Resolving => format!("{what}: asking for the manifest"),
        Stage::Fetching => format!("{what}: layer {} of {}", progress.layers_done, progress.layers_total),
        Stage::Recording => format!("{what}: recording"),
        Stage::Done => format!("{what}: done"),
    }
}

fn bar(done: u64, total: u64) -> String {
    let filled = (done.min(total) * WIDTH).checked_div(total).unwrap_or(0);
    (0..WIDTH).map(|column| if column < filled { '█' } else { '░' }).collect()
}

/// `12.3 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if bytes < 1024 { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests;
