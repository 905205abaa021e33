//! What can be wrong with a configuration.

use std::path::PathBuf;

/// Why a configuration was refused. Every variant names the place that has to be mended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading configuration {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}:{line}: {reason}", path.display())]
    Syntax { path: PathBuf, line: usize, reason: String },
    #[error("{}:{line}: unknown option `{key}`{}", path.display(), hint(nearest))]
    UnknownKey { path: PathBuf, line: usize, key: String, nearest: Option<String> },
    #[error("{}:{line}: {key}: {reason}", path.display())]
    BadFileValue { path: PathBuf, line: usize, key: String, reason: String },
    #[error("{source_name}: {key}: {reason}")]
    BadValue { source_name: String, key: String, reason: String },
    #[error("unknown option `{key}`{}", hint(nearest))]
    UnknownFlag { key: String, nearest: Option<String> },
    #[error("{0}")]
    Inconsistent(String),
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}
