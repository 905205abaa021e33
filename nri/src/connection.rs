//! One plugin's connection: calls in both directions over one socket.
//!
//! ```text
//! socket ─▶ frames ─┬─ plugin's service ─▶ answers to our calls
//!                   └─ our service ──────▶ the plugin's requests, answered one after another by their taker
//! ```
//! It ends once, for one reason, and every call that waits ends with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::api::ttrpc::{Request, Response, Status};
use crate::error::{Ended, Failure, Nonsense};
use crate::mux::{self, Header};
use crate::ttrpc::{self, Decoder, Kind};

/// gRPC codes that we use.
pub(crate) const RESOURCE_EXHAUSTED: i32 = 8;
pub(crate) const UNIMPLEMENTED: i32 = 12;

/// Requests of the plugin that may wait for their answer.
const MOST_REQUESTS: usize = 16;

/// A request of the plugin; `stream` is for the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) stream: u32,
    pub(crate) request: Request,
}

/// Shared by those who call, those who answer, and the task that reads.
#[derive(Debug)]
pub(crate) struct Connection {
    /// One message at a time; kept over each write.
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    calls: Mutex<Calls>,
    closing: CancellationToken,
    why: OnceLock<Ended>,
}

#[derive(Debug)]
struct Calls {
    next: u32,
    waiting: HashMap<u32, oneshot::Sender<Bytes>>,
}

impl Connection {
    /// Begins to read. The plugin's requests come out of the receiver; it ends when the connection does.
    pub(crate) fn start(socket: UnixStream) -> (Arc<Self>, mpsc::Receiver<Asked>) {
        let (reader, writer) = socket.into_split();
        let (sender, receiver) = mpsc::channel(MOST_REQUESTS);
        let connection = Arc::new(Self {
            writer: tokio::sync::Mutex::new(writer),
            calls: Mutex::new(Calls { next: 1, waiting: HashMap::new() }),
            closing: CancellationToken::new(),
            why: OnceLock::new(),
        });
        tokio::spawn(read(Arc::clone(&connection), reader, sender));
        (connection, receiver)
    }

    /// Ends it. The first reason counts.
    pub(crate) fn close(&self, why: Ended) {
        let _ = self.why.set(why);
        self.closing.cancel();
        // Their receivers hear of it.
        self.calls().waiting.clear();
    }

    pub(crate) fn why(&self) -> Option<&Ended> {
        self.why.get()
    }

    pub(crate) async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Asks the plugin, and waits `deadline` at most: one that is late has lost its connection.
    pub(crate) async fn call(
        &self,
        service: &'static str,
        method: &'static str,
        payload: Vec<u8>,
        deadline: Duration,
    ) -> Result<Bytes, Failure> {
        let request = Request {
            service: service.to_owned(),
            method: method.to_owned(),
            payload,
            timeout_nano: i64::try_from(deadline.as_nanos()).unwrap_or(0),
            metadata: Vec::new(),
        };
        let message = request.encode_to_vec();
        if message.len() > ttrpc::MAX_MESSAGE {
            return Err(Failure::TooLong { length: message.len() });
        }
        let answered = async {
            let answer = self.ask(&message).await?;
            // Fails when the connection ends.
            answer.await.map_err(|_| self.ended())
        };
        let answer = tokio::select! {
            biased;
            answer = tokio::time::timeout(deadline, answered) => answer,
            () = self.closing.cancelled() => return Err(self.ended()),
        };
        match answer {
            Ok(Ok(answer)) => self.unpack(answer),
            Ok(Err(failure)) => Err(failure),
            Err(_) => {
                self.close(Ended::Late { call: method, after: deadline });
                Err(self.ended())
            }
        }
    }

    /// Sends a request. Streams are numbered in the order in which they are written.
    async fn ask(&self, message: &[u8]) -> Result<oneshot::Receiver<Bytes>, Failure> {
        let mut writer = self.writer.lock().await;
        let (sender, receiver) = oneshot::channel();
        let stream = {
            let mut calls = self.calls();
            let stream = calls.next;
            calls.next = stream.wrapping_add(2);
            calls.waiting.insert(stream, sender);
            stream
        };
        let bytes = mux::frames(mux::PLUGIN_SERVICE, &ttrpc::encode(Kind::Request, stream, message));
        self.write(&mut writer, &bytes).await?;
        Ok(receiver)
    }

    fn unpack(&self, answer: Bytes) -> Result<Bytes, Failure> {
        let response = Response::decode(answer).map_err(|error| self.nonsense("an answer", &error))?;
        match response.status {
            Some(Status { code, message }) if code != 0 => Err(Failure::Status { code, message }),
            _ => Ok(response.payload.into()),
        }
    }

    /// Closes the connection over a message that does not decode.
    pub(crate) fn nonsense(&self, what: &'static str, error: &prost::DecodeError) -> Failure {
        self.close(Nonsense::NotAMessage { what, reason: error.to_string() }.into());
        self.ended()
    }

    /// Answers the plugin's request on `stream`: a message, or a gRPC code and words.
    pub(crate) async fn answer(
        &self,
        stream: u32,
        answer: Result<Vec<u8>, (i32, String)>,
        deadline: Duration,
    ) {
        let response = match answer {
            Ok(payload) => Response { status: None, payload },
            Err((code, message)) => Response { status: Some(Status { code, message }), payload: Vec::new() },
        };
        let bytes = ttrpc::encode(Kind::Response, stream, &response.encode_to_vec());
        let bytes = mux::frames(mux::RUNTIME_SERVICE, &bytes);
        let written = async {
            let mut writer = self.writer.lock().await;
            self.write(&mut writer, &bytes).await
        };
        let written = tokio::select! {
            written = tokio::time::timeout(deadline, written) => written,
            () = self.closing.cancelled() => return,
        };
        if written.is_err() {
            self.close(Ended::Late { call: "reading an answer", after: deadline });
        }
    }

    async fn write(&self, writer: &mut OwnedWriteHalf, bytes: &[u8]) -> Result<(), Failure> {
        writer.write_all(bytes).await.map_err(|error| {
            self.close(Ended::Broken(error.to_string()));
            self.ended()
        })
    }

    fn ended(&self) -> Failure {
        Failure::Ended(self.why.get().cloned().unwrap_or(Ended::ByUs))
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(connection: Arc<Connection>, mut reader: OwnedReadHalf, requests: mpsc::Sender<Asked>) {
    let mut inbox = Inbox {
        connection: &connection,
        requests,
        answers: Decoder::default(),
        asked: Decoder::default(),
        last: 0,
    };
    tokio::select! {
        why = frames(&mut reader, &mut inbox) => connection.close(why),
        () = connection.closing.cancelled() => {}
    }
    // Whoever still writes gives up now. The peer hears of the end even while somebody holds the connection.
    let _ = connection.writer.lock().await.shutdown().await;
}

async fn frames(reader: &mut OwnedReadHalf, inbox: &mut Inbox<'_>) -> Ended {
    let mut header = [0; mux::HEADER_LENGTH];
    let mut payload = Vec::new();
    loop {
        match reader.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ended::ByPeer,
            Err(error) => return Ended::Broken(error.to_string()),
        }
        let header = match Header::decode(header) {
            Ok(header) => header,
            Err(nonsense) => return nonsense.into(),
        };
        payload.clear();
        let length = u64::try_from(header.length).unwrap_or(u64::MAX);
        // Grows with what has come, not with what was announced.
        match (&mut *reader).take(length).read_to_end(&mut payload).await {
            Ok(read) if read == header.length => {}
            Ok(_) => return Ended::ByPeer,
            Err(error) => return Ended::Broken(error.to_string()),
        }
        if let Err(nonsense) = inbox.take(header.connection, &payload).await {
            return nonsense.into();
        }
    }
}

/// Sorts what comes.
struct Inbox<'a> {
    connection: &'a Connection,
    requests: mpsc::Sender<Asked>,
    answers: Decoder,
    asked: Decoder,
    /// The plugin's last stream.
    last: u32,
}

impl Inbox<'_> {
    async fn take(&mut self, connection: u32, payload: &[u8]) -> Result<(), Nonsense> {
        let (decoder, expected) = match connection {
            mux::PLUGIN_SERVICE => (&mut self.answers, Kind::Response),
            mux::RUNTIME_SERVICE => (&mut self.asked, Kind::Request),
            // Nobody has opened it at this end; the reference multiplexer drops what comes for it, too.
            _ => return Ok(()),
        };
        decoder.push(payload);
        loop {
            let decoder = if expected == Kind::Response { &mut self.answers } else { &mut self.asked };
            let Some(message) = decoder.next()? else { return Ok(()) };
            if message.kind != expected {
                return Err(Nonsense::WrongWay { connection });
            }
            match expected {
                Kind::Response => self.answered(message.stream, message.payload)?,
                Kind::Request => self.asked(message.stream, message.payload).await?,
            }
        }
    }

    fn answered(&self, stream: u32, payload: Bytes) -> Result<(), Nonsense> {
        let waiting = self.connection.calls().waiting.remove(&stream);
        // Fails if the caller does not wait any more.
        waiting.map(|sender| drop(sender.send(payload))).ok_or(Nonsense::NotAsked { stream })
    }

    async fn asked(&mut self, stream: u32, payload: Bytes) -> Result<(), Nonsense> {
        if stream.is_multiple_of(2) || stream <= self.last {
            return Err(Nonsense::StreamOrder { stream });
        }
        self.last = stream;
        let request = Request::decode(payload)
            .map_err(|error| Nonsense::NotAMessage { what: "a request", reason: error.to_string() })?;
        if self.requests.try_send(Asked { stream, request }).is_err() {
            let answer = Err((RESOURCE_EXHAUSTED, "too many requests at once".to_owned()));
            self.connection.answer(stream, answer, Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
