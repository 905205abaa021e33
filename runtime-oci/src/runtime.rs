//! The command line of an OCI runtime: what runc, crun and youki have in common.
//!
//! `create` and `exec` are run by the monitor, which must be the parent of what they start; the rest is called here.

mod call;
mod checkpoint;
mod features;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod words;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linkspan_config::CgroupDriver;
use serde::Deserialize;

use crate::cgroup::Cgroups;
use crate::error::Error;
use crate::spec::{Resources, linux_resources};

use call::Outcome;
use features::Asking;

pub(crate) use checkpoint::program;
pub use checkpoint::{CheckpointDirs, find_criu, restore_errors};
pub use features::Features;
pub use words::words;
pub(crate) use words::{means_not_begun, until_begun};

/// Ample for a loaded machine; a healthy runtime needs milliseconds.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// One runtime handler: a binary and its directory of states. Cheap to clone; clones share what the binary can do.
///
/// A call whose future is dropped kills the runtime's process, which may leave the container half changed: state
/// changes belong into a task of their own.
#[derive(Clone, Debug)]
pub struct Runtime {
    name: String,
    binary: PathBuf,
    state_root: PathBuf,
    timeout: Duration,
    systemd_cgroup: bool,
    features: Asking,
}

/// What the runtime says about a container (runtime-spec, `runtime.md`, "State").
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ContainerState {
    pub id: String,
    pub status: Status,
    /// Zero or missing once the container has stopped.
    #[serde(default)]
    pub pid: i32,
}

/// The runtime's view of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Stopped,
    Paused,
}

impl Runtime {
    /// The runtime of handler `name`; its states live in `state_root`, which should be on a tmpfs.
    #[must_use]
    pub fn new(name: &str, handler: &linkspan_config::Handler, state_root: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            binary: handler.path.clone(),
            state_root,
            timeout: DEFAULT_TIMEOUT,
            systemd_cgroup: false,
            features: Asking::new(name, handler.path.clone()),
        }
    }

    /// Longest that one call may take.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// With the systemd driver the runtime asks systemd for the container's scope.
    #[must_use]
    pub fn with_cgroup_driver(self, driver: CgroupDriver) -> Self {
        Self { systemd_cgroup: driver == CgroupDriver::Systemd, ..self }
    }

    /// The handler's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the binary can do; asked once, and again when the file has changed. Waits a few seconds at most. Cancel
    /// safe: the answer is there for who asks next.
    ///
    /// # Errors
    /// [`Error::RuntimeMissing`] if the binary cannot be run, [`Error::NoFeatures`] if it hangs or dies.
    pub async fn features(&self) -> Result<Features, Error> {
        self.features.ask(self.timeout).await
    }

    /// The same as far as it is known, at once. Has it looked at again in the background.
    ///
    /// # Errors
    /// As for [`Runtime::features`], of the last time that it was asked; [`Error::NoFeatures`] before the first answer.
    pub fn known_features(&self) -> Result<Features, Error> {
        self.features.known(self.timeout)
    }

    /// For the monitor: makes the container and its first process, which waits for [`Runtime::start`].
    #[must_use]
    pub fn create_command(
        &self,
        id: &str,
        bundle: &Path,
        pid_file: &Path,
        console_socket: Option<&Path>,
        log: &Path,
    ) -> Vec<OsString> {
        let mut command = self.logging_command("create", log);
        command.extend(["--bundle".into(), bundle.into()]);
        push_process_files(&mut command, pid_file, console_socket);
        command.push(id.into());
        command
    }

    /// For the monitor: starts the process of `process_json` in the container and returns.
    #[must_use]
    pub fn exec_command(
        &self,
        id: &str,
        process_json: &Path,
        pid_file: &Path,
        console_socket: Option<&Path>,
        log: &Path,
    ) -> Vec<OsString> {
        let mut command = self.logging_command("exec", log);
        command.extend(["--detach".into(), "--process".into(), process_json.into()]);
        push_process_files(&mut command, pid_file, console_socket);
        command.push(id.into());
        command
    }

    /// Lets the created container's process run.
    ///
    /// # Errors
    /// [`Error::Runtime`] in the runtime's words, [`Error::NoSuchContainer`], [`Error::TimedOut`].
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        self.run("start", id, &[id], None).await.map(drop)
    }

    /// Removes what the runtime keeps about the container; `force` kills it first. Gone is fine.
    ///
    /// # Errors
    /// As for [`Runtime::start`].
    pub async fn delete(&self, id: &str, force: bool) -> Result<(), Error> {
        let args: &[&str] = if force { &["--force", id] } else { &[id] };
        match self.run("delete", id, args, None).await {
            Err(Error::NoSuchContainer { .. }) => Ok(()),
            result => result.map(drop),
        }
    }

    /// Changes the limits that `resources` names, in the form that the host's `cgroups` take.
    ///
    /// # Errors
    /// As for [`Runtime::start`]; [`Error::BadSpec`] for limits that contradict each other.
    pub async fn update(&self, id: &str, resources: &Resources, cgroups: &Cgroups) -> Result<(), Error> {
        let resources = linux_resources(resources, cgroups.support(), cgroups.mode())?;
        let json =
            serde_json::to_vec(&resources).map_err(|error| Error::bad("resources", error.to_string()))?;
        self.run("update", id, &["--resources", "-", id], Some(json)).await.map(drop)
    }

    /// Sends `signal` to the container's first process.
    ///
    /// # Errors
    /// As for [`Runtime::start`].
    pub async fn kill(&self, id: &str, signal: i32) -> Result<(), Error> {
        self.run("kill", id, &[id, &signal.to_string()], None).await.map(drop)
    }

    /// Asks the runtime; our own records are faster and say more.
    ///
    /// # Errors
    /// As for [`Runtime::start`].
    pub async fn state(&self, id: &str) -> Result<ContainerState, Error> {
        let outcome = self.run("state", id, &[id], None).await?;
        serde_json::from_slice(&outcome.stdout).map_err(|error| Error::Runtime {
            runtime: self.name.clone(),
            verb: "state",
            id: id.to_owned(),
            message: format!("answered what is no state: {error}"),
        })
    }

    async fn run(
        &self,
        verb: &'static str,
        id: &str,
        args: &[&str],
        stdin: Option<Vec<u8>>,
    ) -> Result<Outcome, Error> {
        let mut command = self.command();
        command.push(verb.into());
        command.extend(args.iter().map(OsString::from));
        let what = format!("{} {verb} {id}", self.name);
        let outcome = until_begun(
            || call::run(&command, stdin.clone(), self.timeout, &what),
            |outcome| outcome.as_ref().is_ok_and(|o| !o.success && means_not_begun(&o.stderr)),
        )
        .await?;
        if outcome.success {
            return Ok(outcome);
        }
        let message = words("", &outcome.stderr);
        let runtime = self.name.clone();
        Err(if words::means_no_such_container(&message, id) || !self.keeps(id) {
            Error::NoSuchContainer { runtime, id: id.to_owned() }
        } else {
            refused(runtime, verb, id.to_owned(), message)
        })
    }

    /// Whether it keeps anything about the container, as [`kept`] finds it.
    #[must_use]
    pub fn keeps(&self, id: &str) -> bool {
        self.state_root.join(id).exists() || kept(&self.state_root, id).next().is_some()
    }

    fn command(&self) -> Vec<OsString> {
        let mut command =
            vec![self.binary.clone().into_os_string(), "--root".into(), self.state_root.clone().into()];
        if self.systemd_cgroup {
            command.push("--systemd-cgroup".into());
        }
        command
    }

    /// The log file keeps the runtime's words apart from the container's own stderr.
    fn logging_command(&self, verb: &str, log: &Path) -> Vec<OsString> {
        let mut command = self.command();
        command.extend(["--log".into(), log.into(), "--log-format".into(), "json".into(), verb.into()]);
        command
    }
}

/// What a runtime keeps in its directory of states about a container: a directory of its ID (runc, crun, youki), or files that
/// begin with it (gVisor).
pub fn kept(state_root: &Path, id: &str) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(state_root).into_iter().flatten().flatten();
    let begins =
        move |entry: &std::fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(id.as_bytes());
    entries.filter(begins).map(|entry| entry.path())
}

/// What a runtime's words mean.
pub(crate) fn refused(runtime: String, verb: &'static str, id: String, message: String) -> Error {
    match words::faulty_field(&message).filter(|_| matches!(verb, "create" | "start")) {
        Some(field) => Error::bad(field, format!("{runtime} {verb} {id}: {message}")),
        None => Error::Runtime { runtime, verb, id, message },
    }
}

fn push_process_files(command: &mut Vec<OsString>, pid_file: &Path, console_socket: Option<&Path>) {
    command.extend(["--pid-file".into(), pid_file.into()]);
    if let Some(socket) = console_socket {
        command.extend(["--console-socket".into(), socket.into()]);
    }
}

#[cfg(test)]
mod tests;
