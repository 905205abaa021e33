//! The smallest HTTP client that tells whether a server in a pod answers.

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The whole answer to a GET of `/`.
pub async fn get(address: &str) -> Result<String> {
    Ok(String::from_utf8_lossy(&answer(address, "/").await?).into_owned())
}

/// The body of the answer to a GET of `path`.
pub async fn download(address: &str, path: &str) -> Result<Vec<u8>> {
    body(&answer(address, path).await?)
}

async fn answer(address: &str, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.with_context(|| format!("after {} bytes", answer.len()))?;
    Ok(answer)
}

/// What follows the headers.
pub fn body(answer: &[u8]) -> Result<Vec<u8>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the headers")?;
    Ok(answer[end + 4..].to_vec())
}
