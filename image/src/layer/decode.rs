//! From the bytes of a blob to the bytes of its archive, both hashed on the way.
//!
//! Reading, hashing and inflating run on a thread of their own, ahead of the caller by a bounded number of
//! buffers: inflating takes about as long as writing the files.

use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::bufread::MultiGzDecoder;

use super::fault::Fault;
use crate::digest::{Algorithm, Digest, Hasher};

/// Small in tests, so that a short blob takes more buffers than may be ahead.
const BUFFER: usize = if cfg!(any(test, fuzzing)) { 4 * 1024 } else { 256 * 1024 };
const BUFFERS_AHEAD: usize = 4;

/// What a blob turned out to be.
#[derive(Debug)]
pub(crate) struct BlobSeen {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// Digest algorithms to compute, and a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) blob: Algorithm,
    pub(crate) diff: Algorithm,
    /// Most bytes that may come out.
    pub(crate) max_bytes: u64,
}

/// What came of a blob.
pub(crate) struct Outcome<T> {
    pub(crate) blob: BlobSeen,
    /// The consumer's result and the digest of the archive; or what was wrong with the content.
    pub(crate) archive: Result<(T, Digest), Fault>,
}

/// Runs `consume` on the decoded archive. A blob with damaged content is read and hashed to its end all the
/// same, so that the caller can tell a bad transfer from a bad image.
pub(crate) fn decode<R: Read + Send, T>(
    source: R,
    wanted: Wanted,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, Fault>,
) -> Result<Outcome<T>, Fault> {
    let give_up = AtomicBool::new(false);
    thread::scope(|scope| {
        let (filled, receive) = sync_channel(BUFFERS_AHEAD);
        let (give_back, empty) = sync_channel(BUFFERS_AHEAD + 2);
        let give_up = &give_up;
        let producer = thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, move || produce(source, wanted, Pipe { filled, empty, give_up }))
            .map_err(Fault::Source)?;
        let hasher = Hasher::new(wanted.diff);
        let mut stream = Decoded { receive, give_back, current: Vec::new(), at: 0, hasher };
        let consumed = consume(&mut stream);
        if let Err(Fault::Disk { .. }) = consumed {
            give_up.store(true, Ordering::Relaxed);
        }
        let Decoded { receive, hasher, .. } = stream;
        // The producer's next buffer finds nobody listening.
        drop(receive);
        let (blob, decoded) = producer.join().unwrap_or_else(|_| Err(Fault::bad("the decoder panicked")))?;
        let archive = match (decoded, consumed) {
            // The consumer took the decoder's failure for the end of the archive.
            (Err(fault), _) | (Ok(()), Err(fault)) => Err(fault),
            (Ok(()), Ok(value)) => Ok((value, hasher.finish())),
        };
        Ok(Outcome { blob, archive })
    })
}

/// The producer's ends.
struct Pipe<'a> {
    filled: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    give_up: &'a AtomicBool,
}

fn produce<R: Read>(
    source: R,
    wanted: Wanted,
    pipe: Pipe<'_>,
) -> Result<(BlobSeen, Result<(), Fault>), Fault> {
    let mut hashing = Hashing { source, hasher: Hasher::new(wanted.blob), bytes: 0, failed: None };
    let mut magic = Vec::new();
    (&mut hashing).take(4).read_to_end(&mut magic).map_err(|error| hashing.blame(error))?;
    let mut decoder = Decoder::new(magic, hashing)?;
    let result = inflate(&mut decoder, wanted.max_bytes, &pipe);
    let Pipe { filled, give_up, .. } = pipe;
    drop(filled);
    let mut hashing = decoder.into_source();
    if let Some(error) = hashing.failed.take() {
        return Err(Fault::Source(error));
    }
    if !give_up.load(Ordering::Relaxed) {
        io::copy(&mut hashing, &mut io::sink()).map_err(|error| hashing.blame(error))?;
    }
    Ok((BlobSeen { digest: hashing.hasher.finish(), bytes: hashing.bytes }, result))
}

fn inflate<R: Read>(decoder: &mut Decoder<R>, max_bytes: u64, pipe: &Pipe<'_>) -> Result<(), Fault> {
    let mut total = 0u64;
    loop {
        let mut buffer = pipe.empty.try_recv().unwrap_or_default();
        buffer.resize(BUFFER, 0);
        let mut length = 0;
        while length < BUFFER {
            match decoder.read(&mut buffer[length..]) {
                Ok(0) => break,
                Ok(got) => length += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::bad(format!("decompressing: {error}"))),
            }
        }
        total += length as u64;
        if total > max_bytes {
            return Err(Fault::bad(format!("more than {max_bytes} bytes unpacked")));
        }
        if length == 0 {
            return Ok(());
        }
        buffer.truncate(length);
        // An error means that the consumer has failed: its reason counts.
        if pipe.filled.send(buffer).is_err() {
            return Ok(());
        }
    }
}

/// Counts and hashes what is read. Remembers a failure of the source, to tell it from damaged content.
struct Hashing<R> {
    source: R,
    hasher: Hasher,
    bytes: u64,
    failed: Option<io::Error>,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.source.read(buffer) {
            Ok(got) => {
                self.hasher.update(&buffer[..got]);
                self.bytes += got as u64;
                Ok(got)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

impl<R> Hashing<R> {
    /// The failure that the source itself reported.
    fn blame(&mut self, error: io::Error) -> Fault {
        Fault::Source(self.failed.take().unwrap_or(error))
    }
}

/// The first bytes, read to know the compression, and the rest.
type Blob<R> = BufReader<io::Chain<io::Cursor<Vec<u8>>, Hashing<R>>>;

/// The compression is taken from the content: media types in the wild are wrong often enough, and the diff ID
/// decides in the end.
enum Decoder<R: Read> {
    Plain(Blob<R>),
    Gzip(Box<MultiGzDecoder<Blob<R>>>),
    Zstd(zstd::Decoder<'static, Blob<R>>),
}

impl<R: Read> Decoder<R> {
    fn new(magic: Vec<u8>, rest: Hashing<R>) -> Result<Self, Fault> {
        let blob = |magic| BufReader::with_capacity(BUFFER, io::Cursor::new(magic).chain(rest));
        Ok(match magic[..] {
            [0x1f, 0x8b, ..] => Self::Gzip(Box::new(MultiGzDecoder::new(blob(magic)))),
            // A zstd stream may begin with a skippable frame.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                Self::Zstd(zstd::Decoder::with_buffer(blob(magic)).map_err(Fault::Source)?)
            }
            _ => Self::Plain(blob(magic)),
        })
    }

    fn into_source(self) -> Hashing<R> {
        let blob = match self {
            Self::Plain(blob) => blob,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        blob.into_inner().into_inner().1
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(blob) => blob.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// The consumer's end.
struct Decoded {
    receive: Receiver<Vec<u8>>,
    give_back: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    hasher: Hasher,
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.current.len() {
            let Ok(next) = self.receive.recv() else {
                return Ok(0);
            };
            self.hasher.update(&next);
            let used = std::mem::replace(&mut self.current, next);
            // Full when the producer is done: then nobody wants it back.
            let _ = self.give_back.try_send(used);
            self.at = 0;
        }
        let got = buffer.len().min(self.current.len() - self.at);
        buffer[..got].copy_from_slice(&self.current[self.at..self.at + got]);
        self.at += got;
        Ok(got)
    }
}
