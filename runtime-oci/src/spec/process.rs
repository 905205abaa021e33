//! The process: of the container itself, and of an exec into it.

use std::collections::HashSet;
use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, Spec, User};

use super::capability;
use super::input::{Rlimit, SpecInput};
use crate::error::Error;

/// What a shell expects when an image says nothing; the value every runtime uses.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_TERM: &str = "TERM=xterm";

/// The container's first process.
pub(super) fn process(input: &SpecInput) -> Result<Process, Error> {
    if input.args.is_empty() {
        return Err(Error::bad("command", "neither the request nor the image names a command"));
    }
    let mut process = Process::default();
    process
        .set_terminal(Some(input.terminal))
        .set_user(user(input))
        .set_args(Some(input.args.clone()))
        .set_env(Some(environment(&input.env, input.terminal)))
        .set_cwd(working_dir(&input.cwd)?)
        .set_capabilities(Some(capability::capabilities(input)?))
        .set_rlimits(rlimits(&input.rlimits)?)
        // Not set means no. Of a `false` youki thinks that the seccomp filter can wait until the capabilities are gone.
        .set_no_new_privileges(input.no_new_privileges.then_some(true))
        .set_apparmor_profile(input.apparmor_profile.clone())
        .set_selinux_label(input.selinux_process_label.clone())
        .set_oom_score_adj(input.oom_score_adj);
    Ok(process)
}

/// The process of an exec: the container's own, with other arguments. Environment, working directory, user,
/// capabilities, limits and labels are inherited (CRI `ExecSync`).
///
/// # Errors
/// [`Error::BadSpec`] if there is no command, or if `spec` describes no process.
pub fn exec_process(spec: &Spec, args: Vec<String>, terminal: bool) -> Result<Process, Error> {
    if args.is_empty() {
        return Err(Error::bad("cmd", "an exec needs a command"));
    }
    let mut process =
        spec.process().clone().ok_or_else(|| Error::bad("process", "the container's spec has none"))?;
    let environment = environment(process.env().as_deref().unwrap_or_default(), terminal);
    process
        .set_args(Some(args))
        .set_terminal(Some(terminal))
        .set_console_size(None)
        .set_env(Some(environment));
    Ok(process)
}

/// The nearest value that this host lets us set; `floor` is [`crate::host::oom_score_adj_floor`].
#[must_use]
pub fn clamp_oom_score_adj(wanted: i64, floor: i32) -> i32 {
    let ceiling = 1000.max(i64::from(floor));
    i32::try_from(wanted.clamp(i64::from(floor), ceiling)).unwrap_or(floor)
}

fn user(input: &SpecInput) -> User {
    let mut user = User::default();
    user.set_uid(input.user.uid).set_gid(input.user.gid).set_umask(input.user.umask);
    if !input.user.additional_gids.is_empty() {
        user.set_additional_gids(Some(input.user.additional_gids.clone()));
    }
    user
}

fn working_dir(cwd: &str) -> Result<PathBuf, Error> {
    match cwd {
        "" => Ok(PathBuf::from("/")),
        cwd if cwd.starts_with('/') => Ok(PathBuf::from(cwd)),
        cwd => Err(Error::bad("working_dir", format!("{cwd:?} is not absolute"))),
    }
}

/// One value per key, the last one: C libraries take the first they find, shells the last.
fn environment(env: &[String], terminal: bool) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = env.iter().rev().filter(|entry| seen.insert(key(entry))).cloned().collect();
    kept.reverse();
    if !seen.contains("TERM") && terminal {
        kept.insert(0, DEFAULT_TERM.to_owned());
    }
    if !seen.contains("PATH") {
        kept.insert(0, DEFAULT_PATH.to_owned());
    }
    kept
}

fn key(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

fn rlimits(rlimits: &[Rlimit]) -> Result<Option<Vec<PosixRlimit>>, Error> {
    let limits: Vec<PosixRlimit> = rlimits.iter().map(rlimit).collect::<Result<_, _>>()?;
    Ok((!limits.is_empty()).then_some(limits))
}

fn rlimit(rlimit: &Rlimit) -> Result<PosixRlimit, Error> {
    let bad = |reason: String| Error::bad("rlimits", reason);
    let kind =
        PosixRlimitType::from_str(&rlimit.kind).map_err(|_| bad(format!("unknown {:?}", rlimit.kind)))?;
    if rlimit.soft > rlimit.hard {
        return Err(bad(format!(
            "{}: soft limit {} above hard limit {}",
            rlimit.kind, rlimit.soft, rlimit.hard
        )));
    }
    PosixRlimitBuilder::default()
        .typ(kind)
        .soft(rlimit.soft)
        .hard(rlimit.hard)
        .build()
        .map_err(|error| bad(error.to_string()))
}
