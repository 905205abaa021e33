//! Exec, Attach and PortForward: the URLs, and what is spoken behind them. crictl speaks SPDY, its own WebSocket protocol and
//! SPDY within a WebSocket; the harness's client speaks all else.

mod attach;
mod ends;
mod exec;
mod hostile;
mod port_forward;
mod restart;
mod spdy;
mod terminal;
mod tls;
mod urls;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_tests::node::Node;
use linkspan_tests::streaming::{self, Channels, Streams};
use linkspan_tests::wait;
use tokio::io::AsyncWriteExt;

const DEADLINE: Duration = Duration::from_secs(30);
/// What crictl's `--transport` offers.
const TRANSPORTS: [&str; 2] = ["spdy", "websocket"];
const V5: &str = "v5.channel.k8s.io";

/// An exec by the newest WebSocket protocol.
async fn exec(node: &mut Node, id: &str, command: &[&str], streams: Streams) -> Result<Channels> {
    let url = streaming::exec_url(&mut node.runtime, id, command, streams).await?;
    Channels::open(&url, V5).await
}

async fn attach(node: &mut Node, id: &str, streams: Streams) -> Result<Channels> {
    let url = streaming::attach_url(&mut node.runtime, id, streams).await?;
    Channels::open(&url, V5).await
}

/// Waits until the processes of a container, as `ps` tells them, are as wanted.
async fn processes(node: &mut Node, id: &str, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
    wait::until(what, DEADLINE, async || {
        let processes = node.output(id, &["ps", "-o", "args"]).await?;
        ensure!(wanted(&processes), "{processes}");
        Ok(())
    })
    .await
}

/// What a crictl command made of `input`.
struct Told {
    stdout: Vec<u8>,
    stderr: String,
    success: bool,
}

/// Runs a crictl command with `input` as its standard input, to its end.
async fn crictl(node: &Node, arguments: &[&str], input: Vec<u8>) -> Result<Told> {
    let mut command = node.crictl();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.kill_on_drop(true).spawn().context("starting crictl")?;
    let mut stdin = child.stdin.take().context("its input")?;
    // A command that ends before it has read all is no fault of ours.
    let writing = async move {
        let _ = stdin.write_all(&input).await;
    };
    let both = async { tokio::join!(writing, child.wait_with_output()).1 };
    let output = tokio::time::timeout(Duration::from_secs(120), both);
    let output = output.await.with_context(|| format!("crictl {arguments:?} does not end"))??;
    Ok(Told {
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        success: output.status.success(),
    })
}
