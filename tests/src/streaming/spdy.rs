//! As much of a SPDY/3.1 client as a session of remote command or port-forward takes. crictl is the client to be right with; this one
//! can leave the usual way.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Ended, ask};

const DEADLINE: Duration = Duration::from_secs(60);
const FIN: u8 = 1;

/// An upgraded connection.
#[derive(Debug)]
pub struct Spdy {
    pub connection: TcpStream,
    unread: Vec<u8>,
    deflate: Compress,
    next_stream: u32,
}

/// What the server says, as far as it matters to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Data { stream: u32, bytes: Vec<u8>, end: bool },
    Reply { stream: u32 },
    Reset { stream: u32 },
    GoAway,
}

impl Spdy {
    /// Opens a URL with one of the protocols `X-Stream-Protocol-Version` may name.
    pub async fn open(url: &str, protocol: &str) -> Result<Spdy> {
        let headers =
            [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", protocol)];
        let answer = ask("POST", url, &headers).await?;
        ensure!(answer.status == 101, "{url}: status {}", answer.status);
        let chosen = answer.header("x-stream-protocol-version").unwrap_or_default();
        ensure!(chosen == protocol, "asked for {protocol:?}, got {chosen:?}");
        let deflate = Compress::new(Compression::fast(), true);
        Ok(Spdy { connection: answer.connection, unread: answer.rest, deflate, next_stream: 1 })
    }

    /// SYN_STREAM; the stream's number.
    pub async fn stream(&mut self, headers: &[(&str, &str)]) -> Result<u32> {
        let stream = self.next_stream;
        self.next_stream += 2;
        let mut block = Vec::new();
        block.extend(u32::try_from(headers.len())?.to_be_bytes());
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            block.extend(u32::try_from(text.len())?.to_be_bytes());
            block.extend(text.as_bytes());
        }
        // Without the protocol's dictionary: zlib says in its header that none is used.
        let mut body = [&stream.to_be_bytes()[..], &[0; 6]].concat();
        body.reserve(block.len() + 1024);
        self.deflate.compress_vec(&block, &mut body, FlushCompress::Sync)?;
        let length = u32::try_from(body.len())?.to_be_bytes();
        let frame = [&[0x80, 3, 0, 1, 0, length[1], length[2], length[3]], &body[..]].concat();
        self.connection.write_all(&frame).await?;
        Ok(stream)
    }

    pub async fn send(&mut self, stream: u32, bytes: &[u8], end: bool) -> Result<()> {
        let length = u32::try_from(bytes.len())?.to_be_bytes();
        let flags = if end { FIN } else { 0 };
        let head = [&stream.to_be_bytes()[..], &[flags, length[1], length[2], length[3]]].concat();
        self.connection.write_all(&[&head, bytes].concat()).await?;
        Ok(())
    }

    /// The next frame that matters; none at the connection's end.
    pub async fn next(&mut self) -> Result<Option<Frame>> {
        loop {
            let frame = tokio::time::timeout(DEADLINE, self.frame()).await;
            let Some((head, body)) = frame.with_context(|| format!("no frame within {DEADLINE:?}"))?? else {
                return Ok(None);
            };
            let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
            if head[0] & 0x80 == 0 {
                let end = head[4] & FIN != 0;
                return Ok(Some(Frame::Data { stream: number(&head[..4]), bytes: body, end }));
            }
            let stream = number(body.get(..4).unwrap_or_default()) & 0x7fff_ffff;
            match number(&head[2..4]) {
                2 => return Ok(Some(Frame::Reply { stream })),
                3 => return Ok(Some(Frame::Reset { stream })),
                7 => return Ok(Some(Frame::GoAway)),
                // SETTINGS, PING, HEADERS, WINDOW_UPDATE.
                _ => {}
            }
        }
    }

    async fn frame(&mut self) -> Result<Option<([u8; 8], Vec<u8>)>> {
        let mut wanted = 8;
        loop {
            if self.unread.len() >= 8 {
                wanted = 8
                    + usize::from(self.unread[5]) * 65536
                    + usize::from(self.unread[6]) * 256
                    + usize::from(self.unread[7]);
            }
            if self.unread.len() >= wanted && wanted >= 8 && self.unread.len() >= 8 {
                let rest = self.unread.split_off(wanted);
                let frame = std::mem::replace(&mut self.unread, rest);
                return Ok(Some((frame[..8].try_into()?, frame[8..].to_vec())));
            }
            if self.connection.read_buf(&mut self.unread).await? == 0 {
                ensure!(self.unread.is_empty(), "the connection ended within a frame");
                return Ok(None);
            }
        }
    }

    /// Reads to the end of the session: what came on each of these streams.
    pub async fn end(mut self, stdout: u32, stderr: u32, error: u32) -> Result<Ended> {
        let mut came: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        while let Some(frame) = self.next().await? {
            match frame {
                Frame::Data { stream, bytes, .. } => came.entry(stream).or_default().extend(bytes),
                // Servers may say so of a stream that they have said all on.
                Frame::Reset { .. } | Frame::Reply { .. } => {}
                Frame::GoAway => break,
            }
        }
        let mut take = |stream| came.remove(&stream).unwrap_or_default();
        let (stdout, stderr) = (take(stdout), take(stderr));
        let status = String::from_utf8_lossy(&take(error)).into_owned();
        Ok(Ended { stdout, stderr, status })
    }
}
