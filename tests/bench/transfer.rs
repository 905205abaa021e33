//! Bytes through `crictl exec`, in, out and both ways at once, as fast as they go; what comes back is compared.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Plan;
use crate::cri::{Endpoint, Pod};
use crate::table::Table;

/// No divisor of any buffer's size, so that a lost or repeated part shows.
const PERIOD: usize = 1_000_003;
const CHUNK: usize = 256 << 10;

/// What is sent, over and over; twice, so that a chunk is one slice wherever it begins.
fn pattern() -> Vec<u8> {
    let once: Vec<u8> =
        (0..PERIOD as u64).map(|place| (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8).collect();
    [&once[..], &once].concat()
}

pub(crate) async fn run(plan: &Plan, endpoint: &mut Endpoint, pod: &Pod, table: &mut Table) -> Result<()> {
    for transport in ["spdy", "websocket"] {
        // A server may not speak it (containerd does not know v5 of the WebSocket protocol): its cells stay empty.
        if !crictl(endpoint, pod, transport, "true").status().await?.success() {
            continue;
        }
        let size = format!("{} MB", plan.transfer_bytes / 1_000_000);
        let out = format!("head -c {} /dev/zero", plan.transfer_bytes);
        for (what, line, sends, gets) in [
            // The shell stays, and with it its output: some servers end a session whose output has ended.
            ("in", "cat >/dev/null; true", true, false),
            ("out", out.as_str(), false, true),
            ("in and out, every byte compared", "cat", true, true),
        ] {
            let begun = Instant::now();
            one(plan.transfer_bytes, crictl(endpoint, pod, transport, line), sends, gets)
                .await
                .with_context(|| format!("{}: {what} by {transport}", endpoint.name))?;
            let row = format!("crictl exec, {size} {what}, {transport}");
            table.rate(&row, &endpoint.name, plan.transfer_bytes, begun.elapsed());
        }
    }
    Ok(())
}

fn crictl(endpoint: &Endpoint, pod: &Pod, transport: &str, line: &str) -> tokio::process::Command {
    let mut command = linkspan_tests::client::crictl(&endpoint.socket);
    command.args(["exec", "-i", "--transport", transport, &pod.container_id, "sh", "-c", line]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command
}

async fn one(bytes: u64, mut crictl: tokio::process::Command, sends: bool, gets: bool) -> Result<()> {
    if sends {
        crictl.stdin(Stdio::piped());
    }
    if gets {
        crictl.stdout(Stdio::piped());
    }
    let mut crictl = crictl.spawn()?;
    let (stdin, stdout) = (crictl.stdin.take(), crictl.stdout.take());
    let sending = tokio::spawn(async move {
        match stdin {
            Some(stdin) => send(stdin, bytes).await,
            None => Ok(()),
        }
    });
    let got = match stdout {
        Some(stdout) => receive(stdout, sends).await?,
        None => bytes,
    };
    sending.await??;
    let status = crictl.wait().await?;
    ensure!(status.success(), "crictl ended with {status}");
    ensure!(got == bytes, "{got} of {bytes} bytes came back");
    Ok(())
}

async fn send(mut to: impl AsyncWrite + Unpin, bytes: u64) -> Result<()> {
    let pattern = pattern();
    let (mut sent, total) = (0, usize::try_from(bytes)?);
    while sent < total {
        let place = sent % PERIOD;
        let chunk = CHUNK.min(total - sent);
        to.write_all(&pattern[place..place + chunk]).await?;
        sent += chunk;
    }
    Ok(to.shutdown().await?)
}

/// Reads to the end; how much it was.
async fn receive(mut from: impl AsyncRead + Unpin, compare: bool) -> Result<u64> {
    let (pattern, mut buffer, mut got) = (pattern(), vec![0; CHUNK], 0);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(got as u64);
        }
        let place = got % PERIOD;
        ensure!(!compare || buffer[..read] == pattern[place..place + read], "a wrong byte after {got}");
        got += read;
    }
}
