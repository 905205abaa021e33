//! The sessions, each kind in several ways: to a good end, cut in the middle, killed.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_tests::client::{self, Runtime};
use linkspan_tests::http;
use linkspan_tests::streaming::{self, Channels, Forwarding, Streams, channel};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::pods::{self, FILES, Pods};

const DEADLINE: Duration = Duration::from_secs(120);
const V5: &str = "v5.channel.k8s.io";
/// Output comes on one channel, so that a test need not tell them apart.
const INPUT_AND_OUTPUT: Streams = Streams { stdin: true, stdout: true, stderr: false, tty: false };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Exec,
    Attach,
    Forward,
}

/// What all sessions of a round share.
pub(crate) struct Shared {
    runtime: Runtime,
    socket: PathBuf,
    sandbox_id: String,
    shell: String,
    answering: String,
    terminal: String,
    /// Of crictl, by SPDY and by WebSocket; each carries many connections.
    forwardings: Vec<Forwarding>,
}

impl Shared {
    pub(crate) async fn start(pods: &Pods, kind: Kind) -> Result<Shared> {
        let mut forwardings = Vec::new();
        if kind == Kind::Forward {
            for transport in ["spdy", "websocket"] {
                let crictl = client::crictl(&pods.socket);
                forwardings.push(Forwarding::start(crictl, transport, &pods.sandbox_id, 80).await?);
            }
        }
        Ok(Shared {
            runtime: pods.runtime.clone(),
            socket: pods.socket.clone(),
            sandbox_id: pods.sandbox_id.clone(),
            shell: pods.shell.clone(),
            answering: pods.answering.clone(),
            terminal: pods.terminal.clone(),
            forwardings,
        })
    }

    async fn exec(&self, line: &str, streams: Streams, protocol: &str) -> Result<Channels> {
        let mut runtime = self.runtime.clone();
        let url = streaming::exec_url(&mut runtime, &self.shell, &["sh", "-c", line], streams).await?;
        Channels::open(&url, protocol).await
    }

    async fn attach(&self, container_id: &str, streams: Streams) -> Result<Channels> {
        let url = streaming::attach_url(&mut self.runtime.clone(), container_id, streams).await?;
        Channels::open(&url, V5).await
    }

    fn crictl(&self, arguments: &[&str]) -> Result<Child> {
        let mut command = client::crictl(&self.socket);
        command.args(arguments).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("starting crictl")
    }
}

pub(crate) async fn run(kind: Kind, shared: &Shared, number: usize) -> Result<()> {
    let session = async {
        match kind {
            Kind::Exec => exec(shared, number).await,
            Kind::Attach => attach(shared, number).await,
            Kind::Forward => forward(shared, number).await,
        }
    };
    tokio::time::timeout(DEADLINE, session).await.context("it does not end")?
}

fn transport(number: usize) -> &'static str {
    ["spdy", "websocket"][number / 10 % 2]
}

async fn exec(shared: &Shared, number: usize) -> Result<()> {
    const WAITING: &str = "echo ready; sleep 7000";
    match number % 10 {
        0 => crictl_exec(shared, number).await,
        1 => crictl_killed(shared, number).await,
        2 | 3 => {
            let mut session = shared.exec("cat; exit 7", INPUT_AND_OUTPUT, V5).await?;
            session.write(&format!("number {number}\n")).await?;
            session.end_input().await?;
            let ended = session.end().await?;
            ensure!(
                ended.stdout() == format!("number {number}\n") && ended.exit_code() == Some(7),
                "{ended:?}"
            );
            Ok(())
        }
        4 => {
            let mut session = shared.exec("exec sh", Streams::TERMINAL, V5).await?;
            session.resize(132, 43).await?;
            session.write(&format!("echo $((6 * 7)) of {number}; exit 5\n")).await?;
            session.expect(&format!("42 of {number}")).await?;
            ensure!(session.end().await?.exit_code() == Some(5));
            Ok(())
        }
        5 => {
            let session = shared.exec("seq 1 20000", Streams::OUTPUT, "v4.base64.channel.k8s.io").await?;
            let ended = session.end().await?;
            let expected: String = (1..=20_000).map(|line| format!("{line}\n")).collect();
            ensure!(ended.stdout() == expected, "{} bytes", ended.stdout.len());
            Ok(())
        }
        6 => cut_when_ready(shared.exec(WAITING, INPUT_AND_OUTPUT, V5).await?).await,
        7 => cut_when_ready(shared.exec(WAITING, Streams::TERMINAL, V5).await?).await,
        8 => {
            let mut session = shared.exec("yes", Streams::OUTPUT, V5).await?;
            for _ in 0..50 {
                session.next().await?.context("it goes on")?;
            }
            session.cut()
        }
        // Nobody even waits for the beginning.
        _ => shared.exec(WAITING, INPUT_AND_OUTPUT, V5).await?.cut(),
    }
}

async fn cut_when_ready(mut session: Channels) -> Result<()> {
    session.expect("ready").await?;
    session.cut()
}

async fn crictl_exec(shared: &Shared, number: usize) -> Result<()> {
    let line = format!("echo number {number}; exit 3");
    let arguments = ["exec", "--transport", transport(number), &shared.shell, "sh", "-c", &line];
    let output = shared.crictl(&arguments)?.wait_with_output().await?;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(stdout == format!("number {number}\n"), "{stdout:?}, {stderr}");
    ensure!(stderr.contains("exit code 3"), "{stderr}");
    Ok(())
}

async fn crictl_killed(shared: &Shared, number: usize) -> Result<()> {
    let line = "echo ready; sleep 7000";
    let mut crictl =
        shared.crictl(&["exec", "-i", "--transport", transport(number), &shared.shell, "sh", "-c", line])?;
    let mut lines = BufReader::new(crictl.stdout.take().context("its output")?).lines();
    ensure!(lines.next_line().await?.as_deref() == Some("ready"));
    Ok(crictl.kill().await?)
}

async fn attach(shared: &Shared, number: usize) -> Result<()> {
    let (said, answer) = (format!("number {number}\n"), format!("got number {number}\n"));
    match number % 5 {
        0 => {
            let mut crictl =
                shared.crictl(&["attach", "-i", "--transport", transport(2 * number), &shared.answering])?;
            let mut stdin = crictl.stdin.take().context("its input")?;
            let mut lines = BufReader::new(crictl.stdout.take().context("its output")?).lines();
            stdin.write_all(said.as_bytes()).await?;
            while lines.next_line().await?.context("it goes on")? != answer.trim_end() {}
            drop(stdin);
            Ok(crictl.kill().await?)
        }
        1 => {
            let mut session = shared.attach(&shared.terminal, Streams::TERMINAL).await?;
            session.resize(80, 24).await?;
            session.write(&format!("echo $((6 * 7)) of {number}\n")).await?;
            session.expect(&format!("42 of {number}")).await?;
            session.cut()
        }
        2 => {
            let mut session = shared.attach(&shared.answering, INPUT_AND_OUTPUT).await?;
            session.write(&said).await?;
            session.expect(&answer).await?;
            session.end_input().await?;
            session.end().await.map(drop)
        }
        3 => {
            let mut session = shared.attach(&shared.answering, INPUT_AND_OUTPUT).await?;
            session.write(&said).await?;
            session.expect(&answer).await?;
            session.cut()
        }
        // Never reads.
        _ => shared.attach(&shared.answering, Streams::OUTPUT).await?.cut(),
    }
}

async fn forward(shared: &Shared, number: usize) -> Result<()> {
    let file = number % FILES;
    let path = format!("/file-{file}");
    let expected = pods::file(file);
    match number % 5 {
        which @ (0 | 1) => {
            let bytes = http::download(&shared.forwardings[which].address, &path).await?;
            ensure!(bytes == expected, "{} bytes that differ", bytes.len());
            Ok(())
        }
        // A client that goes away in the middle of a download.
        which @ (2 | 3) => {
            let mut stream = TcpStream::connect(&shared.forwardings[which - 2].address).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
            let mut some = vec![0; 20_000];
            stream.read_exact(&mut some).await?;
            if number.is_multiple_of(2) {
                stream.set_zero_linger()?;
            }
            Ok(())
        }
        _ => {
            let mut runtime = shared.runtime.clone();
            let url = streaming::port_forward_url(&mut runtime, &shared.sandbox_id, &[80]).await?;
            let mut session = Channels::open(&url, "v4.channel.k8s.io").await?;
            session.send(0, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
            let mut answer = Vec::new();
            loop {
                match session.next().await? {
                    Some((channel::STDIN, bytes)) => answer.extend(bytes),
                    Some((1, bytes)) if bytes.len() == 2 => {}
                    Some((channel, bytes)) => {
                        anyhow::bail!("channel {channel}: {:?}", String::from_utf8_lossy(&bytes))
                    }
                    None => break,
                }
                if number % 2 == 1 && answer.len() > 20_000 {
                    return session.cut();
                }
            }
            // The channel's first two bytes are its port.
            let bytes = http::body(&answer[2..])?;
            ensure!(bytes == expected, "{} bytes that differ", bytes.len());
            Ok(())
        }
    }
}
