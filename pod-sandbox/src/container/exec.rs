//! ExecSync, and what Exec has in common with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkspan_runtime_oci::monitor::Monitor;
use linkspan_runtime_oci::{ExecOutput, ExecRequest, exec_sync, spec};

use super::record::ContainerRecord;
use super::state::{Request, Verdict, admit};
use crate::error::{Error, Refusal};
use crate::find;
use crate::model::ContainerId;
use crate::pods::{Inner, Pods};
use crate::table::blocking;

/// Enough to tell the execs of one container apart.
const EXEC_ID_DIGITS: usize = 16;
/// As in the runtime's command, relative to its working directory: absolute names may be too long for a socket.
const CONSOLE_SOCKET: &str = "console.sock";

impl Pods {
    /// Runs a command in a created or running container and returns its output (CRI api.proto, ExecSync). Stdout and
    /// stderr are one stream if the container has a terminal. Dropping the future lets the command run on, until
    /// `timeout` at most; on a terminal it is hung up.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::NotRunning`]; [`Error::Refused`] while it is being
    /// killed; [`Error::Runtime`] with the runtime's words; a time-out leaves no process of the command.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, Error> {
        let inner = &self.inner;
        let (record, monitor) = executable(inner, id, &command)?;
        let (request, _scratch) = prepare(inner, &record, command, record.config.tty).await?;
        let request = ExecRequest { timeout, ..request };
        Ok(exec_sync(&monitor, request, inner.settings.container.max_exec_sync_bytes).await?)
    }
}

/// The container, if `command` may be run in it now.
pub(super) fn executable(
    inner: &Inner,
    id: &str,
    command: &[String],
) -> Result<(Arc<ContainerRecord>, Monitor), Error> {
    inner.check_open()?;
    let record = find::container(&inner.table.snapshot(), id)?;
    if command.first().is_none_or(String::is_empty) {
        return Err(Error::bad("cmd", "is empty"));
    }
    if let Some(index) = command.iter().position(|argument| argument.contains('\0')) {
        return Err(Error::bad(format!("cmd[{index}]"), "has a NUL character in it"));
    }
    let not_running = || Error::NotRunning { id: record.id.to_string(), state: record.state.for_cri() };
    if admit(&record.state, Request::Exec) != Verdict::Proceed {
        return Err(not_running());
    }
    if inner.stops.is_killing(&record.id) {
        return Err(Error::Refused(Refusal::BeingKilled { id: record.id.to_string() }));
    }
    let monitor = inner.monitor(&record.sandbox_id).ok_or_else(not_running)?;
    Ok((record, monitor))
}

/// The files of one exec; they go with it.
pub(super) struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "files of an exec stay until its container is removed");
        }
    }
}

/// Writes what the runtime needs for an exec without a timeout, and asks for it.
pub(super) async fn prepare(
    inner: &Inner,
    record: &ContainerRecord,
    command: Vec<String>,
    tty: bool,
) -> Result<(ExecRequest, Scratch), Error> {
    let bundle = inner.layout.bundle(&record.sandbox_id, &record.id);
    let exec_id = ContainerId::generate().as_str()[..EXEC_ID_DIGITS].to_owned();
    let dir = bundle.join("exec").join(&exec_id);
    let written = dir.clone();
    let scratch = blocking("writing an exec's process", move || {
        fs::create_dir_all(&written).map_err(Error::store("making directory", &written))?;
        let scratch = Scratch(written);
        write_process(&bundle, &scratch.0, command, tty)?;
        Ok(scratch)
    })
    .await?;
    let (process, pid_file, runtime_log) = (dir.join("process.json"), dir.join("pid"), dir.join("log.json"));
    let console_socket = tty.then(|| PathBuf::from(CONSOLE_SOCKET));
    let runtime = &inner.handler(&record.handler)?.runtime;
    let request = ExecRequest {
        container_id: record.id.to_string(),
        command: runtime.exec_command(
            record.id.as_str(),
            &process,
            &pid_file,
            console_socket.as_deref(),
            &runtime_log,
        ),
        exec_id,
        bundle: dir,
        pid_file,
        runtime_log,
        tty,
        console_socket,
        timeout: None,
        ends_with_caller: false,
    };
    Ok((request, scratch))
}

fn write_process(bundle: &Path, dir: &Path, command: Vec<String>, tty: bool) -> Result<(), Error> {
    let config = bundle.join("config.json");
    let text = fs::read(&config).map_err(Error::store("reading", &config))?;
    let container = serde_json::from_slice(&text).map_err(|e| Error::store("reading", &config)(e.into()))?;
    let process = spec::exec_process(&container, command, tty)?;
    let path = dir.join("process.json");
    let text = serde_json::to_vec(&process).map_err(|e| Error::store("encoding", &path)(e.into()))?;
    fs::write(&path, text).map_err(Error::store("writing", &path))
}
