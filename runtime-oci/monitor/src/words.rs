//! What a runtime says when it fails, from its log file or its stderr.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The end of what was said is what counts.
const LIMIT_BYTES: u64 = 4096;

/// A runtime's log file, from where it stood when the runtime was started.
pub(crate) struct RuntimeLog {
    path: PathBuf,
    start: u64,
}

impl RuntimeLog {
    pub(crate) fn new(path: &Path) -> Self {
        let start = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        Self { path: path.to_path_buf(), start }
    }

    /// The errors in it, or else its last lines; empty if there is nothing.
    pub(crate) fn words(&self) -> String {
        let Ok(mut file) = File::open(&self.path) else { return String::new() };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let start = self.start.max(length.saturating_sub(LIMIT_BYTES));
        let mut said = Vec::new();
        if file.seek(SeekFrom::Start(start)).is_err()
            || file.take(LIMIT_BYTES).read_to_end(&mut said).is_err()
        {
            return String::new();
        }
        readable(&said)
    }

    pub(crate) fn remove(&self) {
        if !self.path.as_os_str().is_empty() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Errors of a JSON log (`--log-format json`) without their wrapping; else the text as it is.
pub(crate) fn readable(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let mut errors = Vec::new();
    let mut others = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match serde_json::from_str::<serde_json::Value>(line) {
            Ok(entry) if entry["msg"].is_string() => {
                let message = entry["msg"].as_str().unwrap_or_default().trim().to_owned();
                if matches!(entry["level"].as_str(), Some("error" | "fatal" | "panic")) {
                    errors.push(message);
                } else {
                    others.push(message);
                }
            }
            _ => others.push(line.to_owned()),
        }
    }
    let chosen = if errors.is_empty() { &mut others } else { &mut errors };
    chosen.dedup();
    chosen.join("; ")
}

#[cfg(test)]
mod tests;
