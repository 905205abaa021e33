//! `crictl port-forward`, listening on a port of its own.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_secs(30);

/// A running `crictl port-forward`; ends with this value.
#[derive(Debug)]
pub struct Forwarding {
    /// Where it listens on this host.
    pub address: String,
    crictl: Child,
}

impl Forwarding {
    /// `crictl` is the command with its global options; it must be one of `crictl port-forward`'s transports.
    pub async fn start(
        mut crictl: Command,
        transport: &str,
        sandbox_id: &str,
        port: u16,
    ) -> Result<Forwarding> {
        crictl.args(["port-forward", "--transport", transport, sandbox_id, &format!(":{port}")]);
        crictl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut crictl = crictl.spawn().context("starting crictl port-forward")?;
        let mut lines = BufReader::new(crictl.stdout.take().context("its output")?).lines();
        let address = tokio::time::timeout(DEADLINE, async {
            while let Some(line) = lines.next_line().await? {
                // `Forwarding from 127.0.0.1:41234 -> 80`
                if let Some(rest) = line.strip_prefix("Forwarding from 127.0.0.1") {
                    let port = rest.split(' ').next().unwrap_or_default();
                    return Ok(format!("127.0.0.1{port}"));
                }
            }
            anyhow::bail!("crictl port-forward ended")
        })
        .await
        .context("crictl port-forward does not listen")??;
        // It says a line for each connection; nobody may block it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Forwarding { address, crictl })
    }

    /// What it says on its standard error, to its end.
    pub async fn last_words(&mut self) -> Result<String> {
        let mut words = String::new();
        let mut stderr = self.crictl.stderr.take().context("its words")?;
        tokio::time::timeout(DEADLINE, stderr.read_to_string(&mut words))
            .await
            .context("crictl port-forward goes on")??;
        Ok(words)
    }
}
