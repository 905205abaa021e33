//! Header blocks: names and values, compressed in one zlib stream for each direction of a session.
//!
//! Source: SPDY/3 draft, section 2.6.10 (name/value header block).

#[cfg(any(test, fuzzing))]
use flate2::{Compress, Compression, FlushCompress};
use flate2::{Decompress, FlushDecompress, Status};

use super::dictionary::DICTIONARY;
use super::frame::{Reader, Violation};

/// Of one block; what zlib makes of little must not fill the memory.
const MAX_BLOCK_BYTES: usize = 16 << 10;
const MAX_HEADERS: u32 = 256;
/// Of a name or a value: clients of Kubernetes send some ten bytes.
const MAX_HEADER_BYTES: usize = 4 << 10;

/// A stream's headers, in the peer's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers(Vec<(String, String)>);

impl Headers {
    /// Names are compared without regard to case: Go's clients send them in theirs.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The stream that they are of is to be refused.
    pub(super) fn are_too_long(&self) -> bool {
        self.0.iter().any(|(name, value)| name.len().max(value.len()) > MAX_HEADER_BYTES)
    }

    fn parse(block: &[u8]) -> Result<Self, Violation> {
        let mut reader = Reader(block);
        let count = reader.u32()?;
        if count > MAX_HEADERS {
            return Err(Violation("a header block with more than 256 headers"));
        }
        let mut text = || -> Result<String, Violation> {
            let length = reader.u32()? as usize;
            let bytes = reader.bytes(length)?;
            String::from_utf8(bytes.to_vec()).map_err(|_| Violation("a header that is not UTF-8"))
        };
        let headers: Result<_, Violation> = (0..count).map(|_| Ok((text()?, text()?))).collect();
        headers.map(Self)
    }
}

/// Reads the peer's blocks. Each of them has to pass, since the next one refers to it.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<Headers, Violation> {
        const BAD: Violation = Violation("a header block that zlib cannot read");
        let mut plain = Vec::with_capacity(4 << 10);
        loop {
            let before = (self.0.total_in(), plain.len());
            let outcome = self.0.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before.0).unwrap_or(block.len());
            block = block.get(taken..).unwrap_or_default();
            match outcome {
                // A peer may do without the dictionary.
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(DICTIONARY).map_err(|_| BAD)?;
                }
                Err(_) | Ok(Status::StreamEnd) => return Err(BAD),
                Ok(_) if plain.len() == plain.capacity() => {
                    if plain.len() >= MAX_BLOCK_BYTES {
                        return Err(Violation("a header block of more than 16 KiB"));
                    }
                    plain.reserve(plain.len().max(1));
                }
                Ok(_) if block.is_empty() => return Headers::parse(&plain),
                Ok(_) if (self.0.total_in(), plain.len()) == before => return Err(BAD),
                Ok(_) => {}
            }
        }
    }
}

/// Our blocks: without headers, which is all that a reply needs. They are the same each time, so that no compressor is held
/// for a session, which would take more memory than all the rest of it.
#[derive(Debug)]
pub(super) struct EmptyBlocks {
    begun: bool,
}

impl EmptyBlocks {
    pub(super) fn new() -> Self {
        Self { begun: false }
    }

    /// In the order in which they are sent.
    pub(super) fn next_block(&mut self) -> Vec<u8> {
        // RFC 1950, section 2.2: deflate with a window of 32 KiB, without a dictionary, which a peer has to take as well.
        const BEGIN: &[u8] = &[0x78, 0x01];
        // RFC 1951, section 3.2.4: a count of headers (four zeros), not compressed, and nothing, not compressed, after which a
        // reader has to give out what it has.
        const BLOCK: &[u8] = &[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        let begin: &[u8] = if std::mem::replace(&mut self.begun, true) { &[] } else { BEGIN };
        [begin, BLOCK].concat()
    }
}

/// Writes blocks as a client does.
#[cfg(any(test, fuzzing))]
#[derive(Debug)]
pub(super) struct Deflater(Compress);

#[cfg(any(test, fuzzing))]
impl Deflater {
    pub(super) fn new() -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        // It cannot fail before the first byte; without it, peers would still read what we write.
        let _ = compress.set_dictionary(DICTIONARY);
        Self(compress)
    }

    /// A block without headers.
    pub(super) fn empty(&mut self) -> Vec<u8> {
        self.deflate(&0_u32.to_be_bytes())
    }

    pub(super) fn deflate(&mut self, plain: &[u8]) -> Vec<u8> {
        // What zlib adds to what it cannot compress is less, so it cannot fail.
        let mut block = Vec::with_capacity(plain.len() + plain.len() / 100 + 64);
        let _ = self.0.compress_vec(plain, &mut block, FlushCompress::Sync);
        block
    }
}

#[cfg(test)]
mod tests;
