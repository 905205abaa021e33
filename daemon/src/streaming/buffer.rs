//! Buffers of those who copy: small at first, larger for as long as much comes and the pool lends it.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::budget::{Loan, Pool};

const LEAST_BYTES: usize = 4 << 10;
const MOST_BYTES: usize = 64 << 10;

/// What a reader is read into.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: Pool,
    loan: Option<Loan>,
}

impl Buffer {
    /// Takes no memory before the first byte is read for.
    pub(crate) fn new(pool: &Pool) -> Self {
        Self { bytes: Vec::new(), pool: pool.clone(), loan: None }
    }

    /// Some bytes; none at the end. Cancel safe.
    ///
    /// # Errors
    /// Of the reader.
    pub(crate) async fn read(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<&[u8]> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; LEAST_BYTES];
        }
        let length = from.read(&mut self.bytes).await?;
        if length == self.bytes.len() {
            self.grow();
        } else if length < LEAST_BYTES && self.loan.is_some() {
            self.bytes.truncate(LEAST_BYTES);
            self.bytes.shrink_to_fit();
            self.loan = None;
        }
        Ok(&self.bytes[..length])
    }

    fn grow(&mut self) {
        if self.bytes.len() < MOST_BYTES
            && let Some(loan) = self.pool.lend(MOST_BYTES)
        {
            self.bytes.resize(MOST_BYTES, 0);
            self.loan = Some(loan);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_grows_with_what_comes_and_shrinks_with_it() {
        let pool = Pool::of(100_000);
        let mut buffer = Buffer::new(&pool);
        let mut much = io::Cursor::new(vec![7; 200_000]);
        assert_eq!(buffer.read(&mut much).await.unwrap(), [7; LEAST_BYTES]);
        assert_eq!(pool.left(), 100_000 - MOST_BYTES);
        assert_eq!(buffer.read(&mut much).await.unwrap(), [7; MOST_BYTES]);
        assert_eq!(buffer.read(&mut &b"little"[..]).await.unwrap(), b"little");
        assert_eq!((pool.left(), buffer.bytes.capacity()), (100_000, LEAST_BYTES));
    }

    #[tokio::test]
    async fn without_a_loan_it_stays_small() {
        let pool = Pool::of(100);
        let mut buffer = Buffer::new(&pool);
        for _ in 0..3 {
            assert_eq!(buffer.read(&mut &[7; 200_000][..]).await.unwrap().len(), LEAST_BYTES);
        }
    }
}
