//! AppArmor: the default profile of containers, and which profiles the kernel has.
//!
//! The kernel takes profiles in binary form only, which `apparmor_parser` makes of text; it loads them too. They stay
//! loaded until the machine is switched off, for all daemons of it.

mod profile;

use std::fs;
use std::path::Path;

use linkspan_child::{Command, Stdio};

use crate::error::Error;

use profile::Include;

/// Of [`Support::On`]'s default profile. Profiles of other container engines have other names.
pub const DEFAULT_PROFILE: &str = "linkspan-default";

const ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
const CONFIGURATION: &str = "/etc/apparmor.d";
/// A service's PATH may lack the first.
const PARSERS: [&str; 4] = [
    "/sbin/apparmor_parser",
    "/usr/sbin/apparmor_parser",
    "/usr/local/sbin/apparmor_parser",
    "/usr/bin/apparmor_parser",
];

/// What the host has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// The kernel has none, or it is switched off.
    Off,
    On {
        /// Whether [`DEFAULT_PROFILE`] is loaded; if not, why.
        default_profile: Result<(), String>,
    },
}

/// Loads the default profile, replacing one of an earlier version, where the kernel has AppArmor. Blocking; a few
/// hundred milliseconds where there is something to do.
#[must_use]
pub fn prepare() -> Support {
    if !fs::read_to_string(ENABLED).is_ok_and(|enabled| enabled.starts_with('Y')) {
        return Support::Off;
    }
    Support::On { default_profile: load() }
}

/// Whether the kernel has a profile of this name loaded, in any mode.
///
/// # Errors
/// [`Error::Io`] if the kernel's list cannot be read (it is in securityfs).
pub fn is_loaded(name: &str) -> Result<bool, Error> {
    let list = fs::read_to_string(PROFILES).map_err(Error::io(format!("reading {PROFILES}")))?;
    Ok(lists(&list, name))
}

/// The program that compiles and loads profiles.
#[must_use]
pub fn parser() -> Option<&'static Path> {
    PARSERS.iter().map(Path::new).find(|path| path.exists())
}

/// Lines of the form `name (mode)`; a name may have spaces.
fn lists(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit_once(" (").is_some_and(|(listed, _)| listed == name))
}

fn load() -> Result<(), String> {
    let parser = parser().ok_or("apparmor_parser is not installed (package apparmor)")?;
    parse(parser, &text(Path::new(CONFIGURATION)), &["--replace", "--skip-cache", "--quiet"])
        .map_err(|reason| format!("{}: {reason}", parser.display()))
}

/// The profile as this host's configuration allows to write it.
fn text(configuration: &Path) -> String {
    let include = |path: &str| Include { path: path.to_owned(), is_there: configuration.join(path).exists() };
    profile::text(DEFAULT_PROFILE, &include("tunables/global"), &include("abstractions/base"))
}

/// Runs the parser on a profile; the reason is the parser's own words.
fn parse(parser: &Path, profile: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(parser);
    command.args(arguments).stdout(Stdio::Null).stderr(Stdio::Piped);
    let output = command.run_blocking(profile.as_bytes()).map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ")),
    }
}

#[cfg(test)]
mod tests;
