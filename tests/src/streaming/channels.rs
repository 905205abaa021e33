//! The channels of `*.channel.k8s.io`: a message is a channel's number and bytes, or base64 text of them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::upgrade;

const DEADLINE: Duration = Duration::from_secs(60);

/// The numbers of remote command's channels.
pub mod channel {
    pub const STDIN: u8 = 0;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    pub const ERROR: u8 = 3;
    pub const RESIZE: u8 = 4;
    /// Not a channel: what follows is the number of one that ends (v5).
    pub const CLOSE: u8 = 255;
}

/// A WebSocket, upgraded, with what has come of its channels so far.
#[derive(Debug)]
pub struct Channels {
    pub sending: SendingChannels,
    pub receiving: ReceivingChannels,
    output: String,
}

#[derive(Debug)]
pub struct SendingChannels {
    base64: bool,
    socket: SplitSink<WebSocketStream<TcpStream>, Message>,
}

#[derive(Debug)]
pub struct ReceivingChannels {
    base64: bool,
    socket: SplitStream<WebSocketStream<TcpStream>>,
}

/// All that a session gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// What came on the error channel.
    pub status: String,
}

impl Ended {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit code in a status as v4 and v5 write it; none if the session failed otherwise.
    pub fn exit_code(&self) -> Option<i32> {
        let status: serde_json::Value = serde_json::from_str(&self.status).ok()?;
        match status["status"].as_str()? {
            "Success" => Some(0),
            _ if status["reason"] == "NonZeroExitCode" => {
                let causes = status["details"]["causes"].as_array()?;
                let cause = causes.iter().find(|cause| cause["reason"] == "ExitCode")?;
                cause["message"].as_str()?.parse().ok()
            }
            _ => None,
        }
    }
}

impl Channels {
    /// Opens a URL with one protocol; an empty one is not sent.
    pub async fn open(url: &str, protocol: &str) -> Result<Channels> {
        let protocols = [protocol];
        let asked: &[&str] = if protocol.is_empty() { &[] } else { &protocols };
        let answer = upgrade(url, asked).await?;
        ensure!(answer.status == 101, "{url}: status {}", answer.status);
        let chosen = answer.header("sec-websocket-protocol").unwrap_or_default();
        ensure!(chosen == protocol, "asked for {protocol:?}, got {chosen:?}");
        let socket =
            WebSocketStream::from_partially_read(answer.connection, answer.rest, Role::Client, None).await;
        let (sink, stream) = socket.split();
        let base64 = protocol.contains("base64");
        Ok(Channels {
            sending: SendingChannels { base64, socket: sink },
            receiving: ReceivingChannels { base64, socket: stream },
            output: String::new(),
        })
    }

    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        self.sending.send(channel, bytes).await
    }

    /// Types on standard input.
    pub async fn write(&mut self, text: &str) -> Result<()> {
        self.send(channel::STDIN, text.as_bytes()).await
    }

    /// The end of standard input, as v5 says it.
    pub async fn end_input(&mut self) -> Result<()> {
        self.sending.end(channel::STDIN).await
    }

    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        let size = format!("{{\"Width\":{columns},\"Height\":{rows}}}");
        self.send(channel::RESIZE, size.as_bytes()).await
    }

    /// The next message with something in it.
    pub async fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        self.receiving.next().await
    }

    /// Reads until standard output says `text`; what it said up to its end. What follows is kept for the next call.
    pub async fn expect(&mut self, text: &str) -> Result<String> {
        loop {
            if let Some(place) = self.output.find(text) {
                let rest = self.output.split_off(place + text.len());
                return Ok(std::mem::replace(&mut self.output, rest));
            }
            match self.next().await.with_context(|| format!("waiting for {text:?} in {:?}", self.output))? {
                Some((channel::STDOUT, bytes)) => self.output += &String::from_utf8_lossy(&bytes),
                Some((channel, bytes)) => {
                    let words = String::from_utf8_lossy(&bytes);
                    bail!("waiting for {text:?} in {:?}: channel {channel} says {words:?}", self.output);
                }
                None => bail!("the session ended before {text:?}, after {:?}", self.output),
            }
        }
    }

    /// Reads to the end of the session.
    pub async fn end(self) -> Result<Ended> {
        let Channels { mut sending, mut receiving, output } = self;
        let mut ended = Ended { stdout: output.into_bytes(), ..Ended::default() };
        while let Some((channel, bytes)) = receiving.next().await? {
            match channel {
                channel::STDOUT => ended.stdout.extend(bytes),
                channel::STDERR => ended.stderr.extend(bytes),
                channel::ERROR => ended.status += &String::from_utf8_lossy(&bytes),
                // An end of a channel that the server tells of.
                channel::CLOSE => {}
                _ => bail!("channel {channel} says {:?}", String::from_utf8_lossy(&bytes)),
            }
        }
        // The answer to the server's close frame; the server may be gone already.
        let _ = sending.socket.close().await;
        Ok(ended)
    }

    /// Ends the connection with no word, as a machine that dies does (a reset, not an orderly end).
    pub fn cut(self) -> Result<()> {
        let socket = self.receiving.socket.reunite(self.sending.socket)?.into_inner();
        socket.set_zero_linger()?;
        Ok(())
    }
}

impl SendingChannels {
    pub async fn send(&mut self, channel: u8, bytes: &[u8]) -> Result<()> {
        let message = if self.base64 {
            Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(bytes)))
        } else {
            Message::binary([&[channel], bytes].concat())
        };
        self.say(message).await
    }

    /// The end of a channel, as v5 says it.
    pub async fn end(&mut self, channel: u8) -> Result<()> {
        self.say(Message::binary(vec![channel::CLOSE, channel])).await
    }

    /// Any message.
    pub async fn say(&mut self, message: Message) -> Result<()> {
        let sent = tokio::time::timeout(DEADLINE, self.socket.send(message)).await;
        Ok(sent.with_context(|| format!("nobody took a message within {DEADLINE:?}"))??)
    }
}

impl ReceivingChannels {
    /// The next message with something in it; none when the server has closed in good order.
    pub async fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        loop {
            let next = tokio::time::timeout(DEADLINE, self.socket.next()).await;
            let message = match next.with_context(|| format!("no message within {DEADLINE:?}"))? {
                None => return Ok(None),
                Some(message) => message?,
            };
            let bytes = match message {
                Message::Binary(bytes) if !self.base64 => bytes.to_vec(),
                Message::Text(text) if self.base64 => {
                    let bytes = text.as_bytes();
                    let channel = bytes.first().context("an empty message")?.wrapping_sub(b'0');
                    [&[channel], &STANDARD.decode(&bytes[1..])?[..]].concat()
                }
                Message::Ping(_) | Message::Pong(_) => continue,
                Message::Close(_) => return Ok(None),
                other => bail!("a message of the wrong kind: {other:?}"),
            };
            let (channel, bytes) = bytes.split_first().context("a message without a channel")?;
            if !bytes.is_empty() {
                return Ok(Some((*channel, bytes.to_vec())));
            }
        }
    }
}
