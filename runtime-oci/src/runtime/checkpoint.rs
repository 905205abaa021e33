//! Checkpoint and restore, as runc and crun do them by CRIU.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Runtime, call, push_process_files, words};
use crate::error::Error;

/// Where CRIU is looked for.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// By this name runtimes call it.
const NAME: &str = "criu";
const ENV: &str = "/usr/bin/env";
/// Of CRIU's log, in an error's text.
const MOST_ERRORS: usize = 3;

/// Where a checkpoint's images are, and where CRIU works.
#[derive(Clone, Debug)]
pub struct CheckpointDirs {
    /// Made by the runtime if missing.
    pub images: PathBuf,
    /// CRIU's logs; made by the runtime if missing.
    pub work: PathBuf,
}

/// CRIU's binary on this host: the one that is configured, else the first one found. `None` if there is none.
#[must_use]
pub fn find_criu(configured: Option<&Path>) -> Option<PathBuf> {
    let candidates = configured.map_or_else(
        || DIRECTORIES.iter().map(|dir| Path::new(dir).join(NAME)).collect(),
        |path| vec![path.to_owned()],
    );
    candidates.into_iter().find(|path| path.is_file())
}

impl Runtime {
    /// Stops all processes of the container where they are.
    ///
    /// # Errors
    /// As for [`Runtime::start`].
    pub async fn pause(&self, id: &str) -> Result<(), Error> {
        self.run("pause", id, &[id], None).await.map(drop)
    }

    /// Lets the processes of a paused container go on.
    ///
    /// # Errors
    /// As for [`Runtime::start`].
    pub async fn resume(&self, id: &str) -> Result<(), Error> {
        self.run("resume", id, &[id], None).await.map(drop)
    }

    /// Writes the state of all processes of the container, which goes on as it was: running or paused. Dropping the
    /// future kills the runtime; CRIU lets the processes go then.
    ///
    /// # Errors
    /// [`Error::Runtime`] with CRIU's words, [`Error::TimedOut`].
    pub async fn checkpoint(
        &self,
        id: &str,
        dirs: &CheckpointDirs,
        criu: &Path,
        timeout: Duration,
    ) -> Result<(), Error> {
        let mut command = with_criu(self.command(), criu);
        command.push("checkpoint".into());
        push_dirs(&mut command, dirs);
        // A container that writes to a log, and talks to peers that will be gone: no reason to refuse.
        command.extend(["--leave-running", "--file-locks", "--tcp-established"].map(OsString::from));
        command.push(id.into());
        let what = format!("{} checkpoint {id}", self.name);
        let outcome = call::run(&command, None, timeout, &what).await?;
        if outcome.success {
            return Ok(());
        }
        let said = criu_errors(&dirs.work.join("dump.log")).unwrap_or_else(|| words("", &outcome.stderr));
        Err(Error::Runtime {
            runtime: self.name.clone(),
            verb: "checkpoint",
            id: id.to_owned(),
            message: said,
        })
    }

    /// For the monitor: makes the container and its processes as they were; they run at once.
    #[must_use]
    pub fn restore_command(
        &self,
        id: &str,
        bundle: &Path,
        (pid_file, console_socket, log): (&Path, Option<&Path>, &Path),
        dirs: &CheckpointDirs,
        criu: &Path,
    ) -> Vec<OsString> {
        let mut command = with_criu(self.logging_command("restore", log), criu);
        command.extend(["--detach".into(), "--bundle".into(), bundle.into()]);
        push_dirs(&mut command, dirs);
        command.extend(["--file-locks", "--tcp-established"].map(OsString::from));
        push_process_files(&mut command, pid_file, console_socket);
        command.push(id.into());
        command
    }
}

/// Why CRIU could not restore, from its own log: what the runtime says of it is long.
#[must_use]
pub fn restore_errors(dirs: &CheckpointDirs) -> Option<String> {
    criu_errors(&dirs.work.join("restore.log"))
}

fn push_dirs(command: &mut Vec<OsString>, dirs: &CheckpointDirs) {
    command.extend(["--image-path".into(), dirs.images.clone().into()]);
    command.extend(["--work-path".into(), dirs.work.clone().into()]);
}

/// Runtimes look CRIU up by its name.
fn with_criu(command: Vec<OsString>, criu: &Path) -> Vec<OsString> {
    let mut path = OsString::from("PATH=");
    path.push(criu.parent().unwrap_or(Path::new("/")));
    path.push(":");
    path.push(call::PATH);
    [ENV.into(), path].into_iter().chain(command).collect()
}

/// The program of a command, past what [`with_criu`] put before it.
pub(crate) fn program(command: &[OsString]) -> Option<&OsStr> {
    let is_ours = |word: &&OsString| *word != ENV && !word.as_encoded_bytes().starts_with(b"PATH=");
    command.iter().find(is_ours).map(OsString::as_os_str)
}

fn criu_errors(log: &Path) -> Option<String> {
    let text = fs::read_to_string(log).ok()?;
    let errors: Vec<&str> = text.lines().filter(|line| line.contains("Error (")).collect();
    let last = errors.len().saturating_sub(MOST_ERRORS);
    (!errors.is_empty()).then(|| format!("criu: {}", errors[last..].join("; ")))
}
