//! The sizes of a client's terminal, as it sends them: `{"Width":80,"Height":24}`, one JSON object after the other.

use linkspan_pod_sandbox::TerminalSize;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};

/// More than one object ever is.
const MAX_OBJECT_BYTES: usize = 1024;

#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

/// Reads sizes from a stream. It ends with the stream, or with the first thing that is no size.
pub(super) struct Sizes<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Sizes<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next size. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<TerminalSize> {
        loop {
            match take(&mut self.buffer) {
                Taken::Size(size) => return Some(size),
                Taken::More if self.buffer.len() < MAX_OBJECT_BYTES => {}
                Taken::More | Taken::Nonsense => return None,
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }
}

enum Taken {
    Size(TerminalSize),
    /// What is there is the beginning of a size.
    More,
    Nonsense,
}

fn take(buffer: &mut Vec<u8>) -> Taken {
    let mut objects = serde_json::Deserializer::from_slice(buffer).into_iter::<Size>();
    let (taken, end) = match objects.next() {
        None => (Taken::More, objects.byte_offset()),
        Some(Ok(size)) => {
            (Taken::Size(TerminalSize { columns: size.width, rows: size.height }), objects.byte_offset())
        }
        Some(Err(error)) if error.is_eof() => return Taken::More,
        Some(Err(_)) => return Taken::Nonsense,
    };
    buffer.drain(..end);
    taken
}

#[cfg(test)]
mod tests;
