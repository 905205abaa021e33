//! Running one plugin: environment, standard input, deadline, and what it says.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use linkspan_child::{Child, Command, Stdio};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout, timeout_at};

use super::super::{Error, INTERFACE};

/// No result is larger; a plugin that writes on is cut off.
const MAX_OUTPUT_BYTES: u64 = 4 << 20;
/// Of standard error in a message.
const MAX_QUOTE_BYTES: usize = 2 << 10;
/// How long output is awaited after the plugin's end, if something it started holds the pipe.
const DRAIN: Duration = Duration::from_millis(500);
/// Between attempts while the binary is being written ("text file busy").
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// A binary that is being written for longer than this is not being installed.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// CNI commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }
}

/// Whom a call is about; nobody for GC, STATUS and VERSION.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subject {
    pub(crate) container_id: String,
    /// Empty when the namespace is gone.
    pub(crate) netns: String,
    /// `CNI_ARGS`.
    pub(crate) args: String,
}

/// One run of one plugin.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) verb: Verb,
    /// For error messages.
    pub(crate) network: &'a str,
    pub(crate) plugin: &'a str,
    pub(crate) subject: &'a Subject,
    pub(crate) config: &'a Map<String, Value>,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
}

/// Where plugins are found.
#[derive(Clone, Debug)]
pub(crate) struct Plugins {
    dirs: Vec<PathBuf>,
}

impl Plugins {
    pub(crate) fn new(dirs: &[PathBuf]) -> Self {
        Self { dirs: dirs.to_vec() }
    }

    /// The first directory that has it wins.
    pub(crate) fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        self.dirs
            .iter()
            .map(|dir| dir.join(plugin))
            .find(|path| path.is_file())
            .ok_or_else(|| Error::NoPlugin { plugin: plugin.to_owned(), dirs: self.cni_path() })
    }

    fn cni_path(&self) -> String {
        self.dirs.iter().map(|dir| dir.to_string_lossy()).collect::<Vec<_>>().join(":")
    }

    /// Runs the plugin and returns what it wrote. At the deadline its process group is killed, and
    /// so it is if the caller drops the future.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<Vec<u8>, Error> {
        let mut child = self.spawn(call).await?;
        let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let input = serde_json::to_vec(call.config).unwrap_or_default();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = {
            let write = write(child.stdin.take(), &input);
            let (out, err) = (child.stdout.take(), child.stderr.take());
            let output = async { tokio::join!(write, read(out, &mut stdout), read(err, &mut stderr)) };
            tokio::pin!(output);
            let mut drained = false;
            let end = async {
                tokio::select! {
                    ended = child.wait() => ended,
                    _ = &mut output => {
                        drained = true;
                        child.wait().await
                    }
                }
            };
            let ended = timeout_at(call.deadline.into(), end).await;
            if ended.is_ok() && !drained {
                // Something that it started may hold the pipes for as long as it likes.
                let _ = timeout(DRAIN, &mut output).await;
            }
            ended
        };
        let Ok(ended) = ended else {
            drop(group);
            let _ = timeout(DRAIN, child.wait()).await;
            return Err(call.timed_out(&stderr));
        };
        group.0 = None;
        let status = ended.map_err(|error| call.failed(0, format!("waiting for its end: {error}")))?;
        if status.success() { Ok(stdout) } else { Err(call.refusal(status, &stdout, &stderr)) }
    }

    async fn spawn(&self, call: &Call<'_>) -> Result<Child, Error> {
        let path = self.find(call.plugin)?;
        let mut command = Command::new(&path);
        command
            .own_group()
            .stdin(Stdio::Piped)
            .stdout(Stdio::Piped)
            .stderr(Stdio::Piped)
            .env("CNI_COMMAND", call.verb.name())
            .env("CNI_CONTAINERID", &call.subject.container_id)
            .env("CNI_NETNS", &call.subject.netns)
            .env("CNI_IFNAME", if call.subject.container_id.is_empty() { "" } else { INTERFACE })
            .env("CNI_ARGS", &call.subject.args)
            .env("CNI_PATH", self.cni_path());
        let give_up = call.deadline.min(Instant::now() + BUSY_LIMIT);
        loop {
            match command.spawn() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < give_up => {
                    sleep(BUSY_PAUSE).await;
                }
                child => return child.map_err(Error::io("running cni plugin", path)),
            }
        }
    }
}

/// A process group that does not outlive this value.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended by itself just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn write(to: Option<pipe::Sender>, input: &[u8]) {
    if let Some(mut to) = to {
        // A plugin may end without having read its configuration.
        let _ = to.write_all(input).await;
    }
}

async fn read(from: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    if let Some(from) = from {
        // What came before an error is all there is.
        let _ = from.take(MAX_OUTPUT_BYTES).read_to_end(into).await;
    }
}

impl Call<'_> {
    pub(crate) fn failed(&self, code: u32, message: String) -> Error {
        Error::Plugin {
            network: self.network.to_owned(),
            plugin: self.plugin.to_owned(),
            verb: self.verb.name(),
            code,
            message,
        }
    }

    /// The plugin's own words: its error object, or whatever it wrote.
    fn refusal(&self, status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Error {
        let told = serde_json::from_slice::<Told>(stdout).unwrap_or_default();
        let mut message = told.msg;
        if message.is_empty() {
            message = format!("{status}, {:?}", String::from_utf8_lossy(stdout).trim());
        }
        if !told.details.is_empty() {
            message = format!("{message}; {}", told.details);
        }
        if told.code != 0 {
            message = format!("{message} (code {})", told.code);
        }
        self.failed(told.code, message + &quoted(stderr))
    }

    fn timed_out(&self, stderr: &[u8]) -> Error {
        Error::TimedOut {
            network: self.network.to_owned(),
            plugin: self.plugin.to_owned(),
            verb: self.verb.name(),
            after: self.started.elapsed(),
            stderr: quoted(stderr),
        }
    }
}

/// CNI specification, "Error".
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    code: u32,
    msg: String,
    details: String,
}

/// The end of what was said on standard error, for an error message.
fn quoted(stderr: &[u8]) -> String {
    let tail = &stderr[stderr.len().saturating_sub(MAX_QUOTE_BYTES)..];
    let tail = String::from_utf8_lossy(tail);
    if tail.trim().is_empty() { String::new() } else { format!(", stderr: {:?}", tail.trim()) }
}
