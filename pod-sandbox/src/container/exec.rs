//! ExecSync, and what Exec has in common with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkspan_files::Access;
use linkspan_runtime_oci::monitor::Monitor;
use linkspan_runtime_oci::{ConsoleSocket, ExecOutput, ExecRequest, exec_sync, spec};

use super::record::ContainerRecord;
use super::state::{Request, Verdict, admit};
use crate::error::{Error, Refusal};
use crate::find;
use crate::model::ContainerId;
use crate::own_files::{make_dir, write};
use crate::pods::{Inner, Pods};
use crate::table::blocking;
use crate::user_namespace;

/// Enough to tell the execs of one container apart.
const EXEC_ID_DIGITS: usize = 16;

impl Pods {
    /// Runs a command in a created or running container and returns its output (CRI api.proto, ExecSync). Stdout and
    /// stderr are one stream if the container has a terminal. Dropping the future lets the command run on, until
    /// `timeout` at most; on a terminal it is hung up.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::NotRunning`]; [`Error::Refused`] while it is being
    /// killed; [`Error::Runtime`] with the runtime's words; a time-out leaves no process of the command, unless the pod's
    /// monitor does not answer, which then kills it when it does.
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
    if admit(&record.state, Request::Exec) != Verdict::Proceed {
        return Err(Error::NotRunning { id: record.id.to_string(), state: record.state.for_cri() });
    }
    if record.entry.stops.is_killing() {
        return Err(Error::Refused(Refusal::BeingKilled { id: record.id.to_string() }));
    }
    let monitor = inner.monitor_of(&record.sandbox_id)?;
    Ok((record, monitor))
}

/// What the runtime reads of one exec; it goes with the call.
pub(super) struct Scratch {
    dir: PathBuf,
    /// With a terminal.
    terminal: Option<ConsoleSocket>,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "files of an exec stay until its container is removed");
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
        make_dir(&written, Access::Private)?;
        let mut scratch = Scratch { dir: written, terminal: None };
        scratch.terminal = tty.then(|| ConsoleSocket::in_dir(&scratch.dir)).transpose()?;
        write_process(&bundle, &scratch.dir, command, tty)?;
        Ok(scratch)
    })
    .await?;
    let process = dir.join("process.json");
    // Beside the others, for the monitor to remove: the runtime may still have to write them when nobody here waits for
    // it any more, and a process whose PID is told to nobody would be left to itself.
    let (pid_file, runtime_log) = (dir.with_extension("pid"), dir.with_extension("log"));
    let console_socket = scratch.terminal.as_ref().map(ConsoleSocket::path);
    let runtime = inner.runtime(&record.handler)?;
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
        stdio_owner: stdio_owner(inner, record),
        timeout: None,
        ends_with_caller: false,
    };
    Ok((request, scratch))
}

/// Root of the pod's user namespace.
pub(crate) fn stdio_owner(inner: &Inner, record: &ContainerRecord) -> Option<u32> {
    let snapshot = inner.table.snapshot();
    let users = user_namespace::of(&snapshot.sandboxes.get(&record.sandbox_id)?.config)?;
    Some(users.host_id)
}

fn write_process(bundle: &Path, dir: &Path, command: Vec<String>, tty: bool) -> Result<(), Error> {
    let config = bundle.join("config.json");
    let text = fs::read(&config).map_err(Error::store("reading", &config))?;
    let container = serde_json::from_slice(&text).map_err(|e| Error::store("reading", &config)(e.into()))?;
    let process = spec::exec_process(&container, command, tty)?;
    let path = dir.join("process.json");
    let text = serde_json::to_vec(&process).map_err(|e| Error::store("encoding", &path)(e.into()))?;
    write(&path, text, Access::Private)
}
