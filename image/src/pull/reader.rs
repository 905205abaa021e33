//! From an asynchronous stream of bytes to a blocking reader, through a short queue.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;

use crate::Error;

/// Chunks in the queue: enough to keep both sides busy, little enough to push back on the connection.
const QUEUE: usize = 32;

enum Piece {
    Bytes(Bytes),
    End,
    Failed(Error),
}

/// The asynchronous side.
pub(super) struct Writer {
    queue: mpsc::Sender<Piece>,
}

/// The blocking side. Its end of file is a proper end; a writer that vanishes is an error.
pub(super) struct Reader {
    queue: mpsc::Receiver<Piece>,
    rest: Bytes,
    is_over: bool,
}

pub(super) fn pipe() -> (Writer, Reader) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (Writer { queue: sender }, Reader { queue: receiver, rest: Bytes::new(), is_over: false })
}

impl Writer {
    /// False if nobody reads any more.
    pub(super) async fn send(&self, bytes: Bytes) -> bool {
        self.queue.send(Piece::Bytes(bytes)).await.is_ok()
    }

    /// Everything was sent, or this went wrong.
    pub(super) async fn finish(self, result: Result<(), Error>) {
        let last = result.map_or_else(Piece::Failed, |()| Piece::End);
        // A reader that has gone has its own error to tell.
        let _ = self.queue.send(last).await;
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.is_over {
            match self.queue.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.rest = bytes,
                Some(Piece::End) => self.is_over = true,
                Some(Piece::Failed(error)) => return Err(io::Error::other(error)),
                None => {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the transfer was given up"));
                }
            }
        }
        let count = self.rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.rest[..count]);
        self.rest.advance(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut reader: Reader) -> io::Result<Vec<u8>> {
        let read = move || {
            let mut whole = Vec::new();
            reader.read_to_end(&mut whole).map(|_| whole)
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn bytes_arrive_in_order_and_the_end_is_told() {
        let (writer, reader) = pipe();
        let reading = tokio::spawn(read_all(reader));
        for number in 0..100_u8 {
            assert!(writer.send(Bytes::from(vec![number; 3])).await);
        }
        writer.finish(Ok(())).await;
        let whole = reading.await.unwrap().unwrap();
        assert_eq!(whole, (0..100).flat_map(|number| [number; 3]).collect::<Vec<u8>>());
    }

    #[tokio::test]
    async fn a_vanished_writer_is_no_end_of_file() {
        let (writer, reader) = pipe();
        drop(writer);
        assert_eq!(read_all(reader).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn an_error_is_handed_over_as_it_is() {
        let (writer, reader) = pipe();
        writer.finish(Err(Error::TimedOut { what: "x".to_owned() })).await;
        let inner = read_all(reader).await.unwrap_err().into_inner().unwrap();
        assert!(matches!(*inner.downcast::<Error>().unwrap(), Error::TimedOut { .. }));
    }
}
