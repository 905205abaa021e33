//! One HTTP/1.1 request on a connection of its own, and the connection that an upgrade leaves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(30);
const MOST_HEADER_BYTES: usize = 64 << 10;

/// A `http://address/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub address: String,
    pub path: String,
}

impl Url {
    pub fn parse(url: &str) -> Result<Url> {
        let rest = url.strip_prefix("http://").with_context(|| format!("no plain HTTP URL: {url}"))?;
        let (address, path) = rest.split_once('/').with_context(|| format!("no path in {url}"))?;
        Ok(Url { address: address.to_owned(), path: format!("/{path}") })
    }
}

/// What the server said, and the connection behind it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What came with the headers already.
    pub rest: Vec<u8>,
    pub connection: TcpStream,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request; the answer's head.
pub async fn ask(method: &str, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let url = Url::parse(url)?;
    let connect = TcpStream::connect(&url.address);
    let mut connection = tokio::time::timeout(DEADLINE, connect)
        .await
        .with_context(|| format!("{} does not take connections", url.address))?
        .with_context(|| format!("connecting to {}", url.address))?;
    connection.set_nodelay(true)?;
    let mut request = format!("{method} {} HTTP/1.1\r\nHost: {}\r\n", url.path, url.address);
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    connection.write_all((request + "\r\n").as_bytes()).await?;
    let (head, rest) = tokio::time::timeout(DEADLINE, head(&mut connection))
        .await
        .with_context(|| format!("no answer to {method} {} within {DEADLINE:?}", url.path))??;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("a status line")?.parse()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Answer { status, headers, rest, connection })
}

async fn head(connection: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        ensure!(bytes.len() < MOST_HEADER_BYTES, "headers without an end");
        let read = connection.read_buf(&mut bytes).await?;
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes[..end]).into_owned(), rest));
        }
        ensure!(read > 0, "the connection ended in the middle of {:?}", String::from_utf8_lossy(&bytes));
    }
}

/// Asks for a WebSocket that speaks the first possible of `protocols`.
pub async fn upgrade(url: &str, protocols: &[&str]) -> Result<Answer> {
    let protocols = protocols.join(", ");
    let mut headers = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        // RFC 6455, section 1.3; the answer to this one is known.
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    if !protocols.is_empty() {
        headers.push(("Sec-WebSocket-Protocol", &protocols));
    }
    let answer = ask("GET", url, &headers).await?;
    if answer.status == 101 {
        let accepted = answer.header("sec-websocket-accept");
        ensure!(accepted == Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "a wrong answer to the key: {accepted:?}");
    }
    Ok(answer)
}
