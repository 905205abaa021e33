//! One run of a runtime's binary: bounded in time, with nothing inherited but what it needs.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use linkspan_child::{Child, Command, Stdio};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::error::Error;

/// A runtime that says more than this has lost its way; the rest is read and dropped.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;
/// After the exit, a hook's leftover may still hold the pipe: it is not waited for longer than this.
const DRAIN: Duration = Duration::from_millis(200);
/// Where runtimes look for helpers such as `newuidmap`; the daemon's own environment is not passed on, since runc acts
/// on `NOTIFY_SOCKET` and `LISTEN_FDS`.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Outcome {
    pub(super) success: bool,
    /// The one that ended it.
    pub(super) signal: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// Runs `command` to its end; dropped or out of time, it is killed. `what` names the wait.
pub(super) async fn run(
    command: &[OsString],
    stdin: Option<Vec<u8>>,
    deadline: Duration,
    what: &str,
) -> Result<Outcome, Error> {
    let mut child = spawn(command, stdin.is_some())?;
    match timeout(deadline, finish(&mut child, stdin)).await {
        Ok(outcome) => outcome.map_err(Error::io(what)),
        Err(_) => Err(Error::TimedOut { what: what.to_owned(), after: deadline }),
    }
}

/// Starts `command`; dropped, it is killed. Waits for the file system that the program is on.
pub(super) fn spawn(command: &[OsString], with_stdin: bool) -> Result<Child, Error> {
    let (binary, args) = command.split_first().ok_or_else(|| Error::bad("runtime", "no command"))?;
    Command::new(binary)
        .args(args)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(if with_stdin { Stdio::Piped } else { Stdio::Null })
        .stdout(Stdio::Piped)
        .stderr(Stdio::Piped)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::RuntimeMissing { path: Path::new(binary).to_owned(), source })
}

/// Sees it to its end.
pub(super) async fn finish(child: &mut Child, stdin: Option<Vec<u8>>) -> std::io::Result<Outcome> {
    if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
        // One that exits without reading says why on stderr.
        let _ = pipe.write_all(&bytes).await;
    }
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = {
        let reads = async { tokio::join!(read(out, &mut stdout), read(err, &mut stderr)) };
        tokio::pin!(reads);
        tokio::select! {
            status = child.wait() => {
                let _ = timeout(DRAIN, &mut reads).await;
                status?
            }
            _ = &mut reads => child.wait().await?,
        }
    };
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Outcome { success: status.success(), signal: status.signal(), stdout, stderr })
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, into: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let _ = (&mut pipe).take(MAX_OUTPUT_BYTES).read_to_end(into).await;
    let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
}
