//! A blob as a stream of bytes that survives broken connections: it goes on at the byte where it broke, at the
//! same host or at the next. Whoever reads checks the digest.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_RANGE;
use reqwest::Response;

use super::failure::{Failure, Kind};
use super::peer::{Ask, Method, Outcome};
use super::retry::Tries;
use super::{Purpose, Session};
use crate::Error;
use crate::manifest::Descriptor;

/// Progress that makes earlier failures forgotten.
const FORGIVING_BYTES: u64 = 1 << 20;

/// A blob being received. Not cancel safe: drop it after a `next` that was dropped.
pub(crate) struct Blob {
    session: Arc<Session>,
    descriptor: Descriptor,
    /// Peers to ask, the present one first.
    order: Vec<usize>,
    response: Option<Response>,
    /// Bytes handed out.
    offset: u64,
    /// Bytes of the present response to be dropped: the host does not do ranges.
    skip: u64,
    /// At the present peer, since the last forgiving progress.
    tries: Tries,
    /// Offset at the last failure.
    failed_at: u64,
    /// Failures of peers that were given up.
    tried: Vec<Failure>,
    /// The last answer stopped in the middle: one more silence and the transfer is given up.
    has_stalled: bool,
}

impl Session {
    /// Begins to receive a blob; `avoid` counts the peers, best first, that gave wrong content before.
    pub(crate) fn blob(self: &Arc<Self>, descriptor: &Descriptor, avoid: usize) -> Blob {
        let mut order = self.route(Purpose::Content);
        if !order.is_empty() {
            let turn = avoid % order.len();
            order.rotate_left(turn);
        }
        Blob {
            tries: Tries::new(order.len() <= 1, self.progress_timeout),
            session: self.clone(),
            descriptor: descriptor.clone(),
            order,
            response: None,
            offset: 0,
            skip: 0,
            failed_at: 0,
            tried: Vec::new(),
            has_stalled: false,
        }
    }
}

impl Blob {
    /// The next bytes; `None` after exactly as many as the descriptor says.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.step().await {
                Ok(Some(bytes)) if bytes.is_empty() => {}
                Ok(done_or_bytes) => return Ok(done_or_bytes),
                Err(failure) => self.recover(failure).await?,
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Failure> {
        if self.offset == self.descriptor.size && self.response.is_none() && self.offset > 0 {
            return Ok(None);
        }
        let mut response = match self.response.take() {
            Some(response) => response,
            None => self.open().await?,
        };
        let name = self.name();
        // Half of the patience for this connection, half for another: a dead one may be the network's fault.
        let patience = self.session.progress_timeout / 2;
        match tokio::time::timeout(patience, response.chunk()).await {
            Err(_) => {
                let text =
                    format!("{name}: no byte for {} s after byte {}", patience.as_secs_f32(), self.offset);
                let is_first = !std::mem::replace(&mut self.has_stalled, true);
                Err(Failure { transient: is_first, ..Failure::new(Kind::TimedOut, text) })
            }
            Ok(Err(error)) => Err(Failure::transport(&name, error)),
            Ok(Ok(None)) if self.offset == self.descriptor.size => Ok(None),
            Ok(Ok(None)) => {
                let (expected, actual) = (self.descriptor.size, self.offset);
                Err(Failure::content(Error::SizeMismatch { what: name, expected, actual }).transient())
            }
            Ok(Ok(Some(mut bytes))) => {
                let dropped = self.skip.min(bytes.len() as u64);
                let _ = bytes.split_to(dropped as usize);
                self.skip -= dropped;
                self.offset += bytes.len() as u64;
                if self.offset > self.descriptor.size {
                    let (expected, actual) = (self.descriptor.size, self.offset);
                    return Err(Failure::content(Error::SizeMismatch { what: name, expected, actual }));
                }
                self.has_stalled &= bytes.is_empty();
                self.response = Some(response);
                Ok(Some(bytes))
            }
        }
    }

    async fn open(&mut self) -> Result<Response, Failure> {
        let Some(index) = self.order.first() else {
            let text = "no configured host may be asked for it (capabilities)".to_owned();
            return Err(Failure::new(Kind::Unavailable, text));
        };
        let path = format!("blobs/{}", self.descriptor.digest);
        let ask = Ask { method: Method::Get, path: &path, accept: "*/*", from: self.offset };
        let peer = &self.session.peers[*index];
        let response = peer.once(&ask).await?;
        self.skip = 0;
        if self.offset > 0 {
            if response.status() == StatusCode::PARTIAL_CONTENT {
                let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
                let start =
                    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
                if start != Some(self.offset) {
                    let text = format!("{}: asked for byte {}, got {range:?}", peer.name(&ask), self.offset);
                    return Err(Failure::new(Kind::Unavailable, text));
                }
            } else {
                self.skip = self.offset;
            }
        }
        Ok(response)
    }

    /// Makes ready for another try, at this host or the next; fails when there is none left.
    async fn recover(&mut self, failure: Failure) -> Result<(), Error> {
        self.response = None;
        if self.offset > self.failed_at {
            self.tries.heard();
        }
        if self.offset >= self.failed_at + FORGIVING_BYTES {
            self.tries = self.fresh_tries();
        }
        self.failed_at = self.offset;
        // More than was promised has been handed out already: nothing can mend that.
        let is_hopeless = self.offset > self.descriptor.size;
        let failure = Failure { transient: failure.transient && !is_hopeless, ..failure };
        let Err(failure) = self.tries.next(failure).await else { return Ok(()) };
        self.tried.push(failure);
        if let Some(index) = self.order.first() {
            self.session.peers[*index].note(Outcome::Failed);
        }
        if self.order.len() > 1 && !is_hopeless {
            self.order.remove(0);
            self.tries = self.fresh_tries();
            return Ok(());
        }
        Err(self.session.error(std::mem::take(&mut self.tried)))
    }

    fn fresh_tries(&self) -> Tries {
        Tries::new(self.order.len() <= 1, self.session.progress_timeout)
    }

    fn name(&self) -> String {
        let path = format!("blobs/{}", self.descriptor.digest);
        let ask = Ask { method: Method::Get, path: &path, accept: "", from: 0 };
        match self.order.first() {
            Some(index) => self.session.peers[*index].name(&ask),
            None => path,
        }
    }
}
