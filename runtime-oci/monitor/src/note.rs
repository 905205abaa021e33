//! Notes for whoever looks into `monitor.log`; rare, and bounded, for nobody rotates that file.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

const LIMIT_BYTES: usize = 64 * 1024;

static WRITTEN: AtomicUsize = AtomicUsize::new(0);

/// Writes one line; quietly nothing once the file is full, or if it cannot be written.
pub(crate) fn note(message: &str) {
    let length = message.len() + 1;
    if WRITTEN.fetch_add(length, Ordering::Relaxed) + length > LIMIT_BYTES {
        WRITTEN.fetch_sub(length, Ordering::Relaxed);
        return;
    }
    let _ = std::io::stderr().write_all(format!("{message}\n").as_bytes());
}
