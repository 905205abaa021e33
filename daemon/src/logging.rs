//! The daemon's own log: lines on standard error, which systemd takes to the journal.

use linkspan_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::Error;

/// Installs the log for this process.
///
/// # Errors
/// Filter directives that do not parse, or a second call.
pub(crate) fn start(config: &Log) -> Result<(), Error> {
    let bad = |message: String| Error::Log { level: config.level.clone(), message };
    let filter = EnvFilter::try_new(directives(&config.level)).map_err(|error| bad(error.to_string()))?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_span_events(FmtSpan::NONE);
    match config.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).try_init(),
    }
    .map_err(|error| bad(error.to_string()))
}

/// A bare level is meant for our own crates: HTTP/2 tells of every frame otherwise.
fn directives(level: &str) -> String {
    let bare = level.parse::<tracing::Level>().is_ok();
    if bare { format!("warn,linkspan={level}") } else { level.to_owned() }
}

#[cfg(test)]
mod tests;
