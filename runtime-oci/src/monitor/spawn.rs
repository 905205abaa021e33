//! Starting a monitor, and seeing it end.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use linkspan_child::{Child, Command, Stdio};
use linkspan_monitor::protocol;

use super::{CALL_DEADLINE, Monitor, MonitorSpec};
use crate::Error;
use crate::process::{self, Process};

/// For runtimes that look for their own helpers.
const FALLBACK_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a monitor that has closed its connection may take to end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Its end of the first connection is the monitor's stdin, so nothing has to be waited for or retried.
pub(super) async fn spawn(spec: &MonitorSpec) -> Result<Monitor, Error> {
    let what = format!("starting the monitor of sandbox {}", spec.sandbox_id);
    let (ours, theirs) = protocol::pair().map_err(Error::io(what.clone()))?;
    let log_path = spec.pod_dir.join("monitor.log");
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(Error::io(format!("opening {}", log_path.display())))?;
    let mut command = Command::new(&spec.binary);
    command
        .arg("--pod-dir")
        .arg(&spec.pod_dir)
        .args(["--sandbox-id", &spec.sandbox_id])
        .args(["--max-log-line-bytes", &spec.max_log_line_bytes.to_string()])
        .args(spec.oom_score_adj.map(|value| format!("--oom-score-adj={value}")))
        // NOTIFY_SOCKET, LISTEN_FDS and the like must not reach runtimes: they would pass them on.
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| FALLBACK_PATH.into()))
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::Null)
        .stderr(log);
    #[cfg(feature = "crash-points")]
    if let Some(point) = std::env::var_os(linkspan_monitor::CRASH_POINT_VARIABLE) {
        command.env(linkspan_monitor::CRASH_POINT_VARIABLE, point);
    }
    for procs in &spec.cgroup_procs {
        command.arg("--cgroup-procs").arg(procs);
    }
    let mut child = command.spawn().map_err(Error::io(format!("{what}: {}", spec.binary.display())))?;
    // The command holds the monitor's end; while it does, the monitor's death is not seen.
    drop(command);
    match Monitor::greet(ours, &spec.pod_dir, what.clone(), Some(CALL_DEADLINE)).await {
        Ok(monitor) => {
            tokio::spawn(async move { child.wait().await });
            Ok(monitor)
        }
        Err(Error::MonitorLost { .. }) => {
            Err(Error::Monitor { what, message: last_words(child, &log_path).await })
        }
        Err(e) => {
            let _ = child.kill().await;
            Err(e)
        }
    }
}

async fn last_words(mut child: Child, log_path: &Path) -> String {
    // It says why after it has closed the connection.
    if tokio::time::timeout(LAST_WORDS, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
    let said = tokio::fs::read_to_string(log_path).await.unwrap_or_default();
    match said.lines().next_back() {
        Some(line) => line.to_owned(),
        None => "it ended without a word".to_owned(),
    }
}

/// Returns when the process has ended; whose child it is does not matter.
pub(super) async fn wait_until_gone(process: Process, what: String, after: Duration) -> Result<(), Error> {
    match tokio::time::timeout(after, process::ended(process)).await {
        Ok(ended) => ended.map_err(Error::io(format!("{what}: watching PID {}", process.pid))),
        Err(_) => Err(Error::TimedOut { what, after }),
    }
}
