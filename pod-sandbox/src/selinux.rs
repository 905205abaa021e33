//! SELinux: the labels of containers and of what they see, as the host's policy has them for containers.
//!
//! ```text
//! lxc_contexts ─▶ policy ─┐
//! pod's level, unique ────┼─▶ process label, mount label ─▶ OCI spec, root file system, shm, the pod's files, volumes
//! selinux_options ────────┘
//! ```
//! Where the kernel has no SELinux, labels have no meaning and are left out, as by every runtime.

mod host;
mod relabel;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::Serialize;

use crate::error::Error;
use crate::model::{SandboxConfig, SelinuxOptions};

pub(crate) use host::read;
pub(crate) use relabel::{check_path, relabel};

/// Categories that the common policies have: two of them tell pods apart.
const CATEGORIES: u32 = 1024;
const PAIRS: u32 = CATEGORIES * (CATEGORIES - 1) / 2;

/// `user:role:type:level`; only the level may have colons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) user: String,
    pub(crate) role: String,
    pub(crate) kind: String,
    /// With its categories; empty without MLS.
    pub(crate) level: String,
}

/// What the policy gives to containers (selinux_lxc_contexts(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) process: Label,
    pub(crate) file: Label,
}

/// What the host has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    Off,
    /// On, with or without a policy for containers; if without, why.
    On(Result<Policy, String>),
}

/// What one container is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Labels {
    /// `None`: that of the runtime, which policies turn into one without bounds (`spc_t`).
    pub(crate) process: Option<String>,
    pub(crate) mount: String,
}

impl Label {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(4, ':').map(str::to_owned);
        let (user, role, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = [&user, &role, &kind].iter().all(|part| !part.is_empty());
        whole.then(|| Self { user, role, kind, level: parts.next().unwrap_or_default() })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.user, self.role, self.kind)?;
        if self.level.is_empty() { Ok(()) } else { write!(f, ":{}", self.level) }
    }
}

/// Gives each pod a level of its own. A level is free again when no record has it any more, so that nothing has to be
/// given back, and a new daemon knows those that are taken.
#[derive(Debug)]
pub(crate) struct Levels(AtomicU32);

impl Levels {
    pub(crate) fn starting_at(start: u32) -> Self {
        Self(AtomicU32::new(start))
    }

    /// `s0:c1,c2`, with none of the levels in `taken`, and no other that was handed out a moment ago.
    pub(crate) fn next(&self, taken: &BTreeSet<&str>) -> Option<String> {
        let levels = (0..PAIRS).map(|_| level(self.0.fetch_add(1, Ordering::Relaxed) % PAIRS));
        levels.into_iter().find(|level| !taken.contains(level.as_str()))
    }
}

/// The pair of categories with this number, the lower one first.
fn level(number: u32) -> String {
    let (mut low, mut rest) = (0, number);
    // So many pairs begin with `low`.
    while rest >= CATEGORIES - 1 - low {
        rest -= CATEGORIES - 1 - low;
        low += 1;
    }
    format!("s0:c{low},c{}", low + 1 + rest)
}

/// The policy, if there are labels to be given. Options that cannot be honoured are refused; `field` names them.
pub(crate) fn policy<'a>(
    support: &'a Support,
    options: Option<&SelinuxOptions>,
    field: &str,
) -> Result<Option<&'a Policy>, Error> {
    let wanted = options.is_some_and(|options| !options.is_empty());
    match support {
        Support::Off => Ok(None),
        Support::On(Ok(policy)) => Ok(Some(policy)),
        Support::On(Err(_)) if !wanted => Ok(None),
        Support::On(Err(reason)) => Err(Error::bad(field, reason.clone())),
    }
}

/// CRI `SELinuxOption`, over what the policy has; the level is the pod's unless one is asked for. A container that is
/// not `confined` keeps the runtime's process label, unless it asks for one.
pub(crate) fn labels(
    policy: &Policy,
    options: Option<&SelinuxOptions>,
    level: &str,
    confined: bool,
) -> Labels {
    let none = SelinuxOptions::default();
    let options = options.unwrap_or(&none);
    let or = |asked: &str, otherwise: &str| if asked.is_empty() { otherwise } else { asked }.to_owned();
    let level = or(&options.level, level);
    let process = Label {
        user: or(&options.user, &policy.process.user),
        role: or(&options.role, &policy.process.role),
        kind: or(&options.kind, &policy.process.kind),
        level: level.clone(),
    };
    let mount = Label { level, ..policy.file.clone() };
    let labelled = confined || !options.is_empty();
    Labels { process: labelled.then(|| process.to_string()), mount: mount.to_string() }
}

/// The labels of the pod itself: of its files, and of the container that a sandbox of kind `oci` is. `level` is the
/// pod's.
pub(crate) fn of_pod(support: &Support, config: &SandboxConfig, level: Option<&str>) -> Option<Labels> {
    let (Support::On(Ok(policy)), Some(level)) = (support, level) else { return None };
    let options = config.linux.security_context.selinux_options.as_ref();
    Some(labels(policy, options, level, true))
}

/// What would break a label apart, or end it.
pub(crate) fn check_options(field: &str, options: Option<&SelinuxOptions>) -> Result<(), Error> {
    let Some(SelinuxOptions { user, role, kind, level }) = options else { return Ok(()) };
    for (name, value, also) in
        [("user", user, "_.-"), ("role", role, "_.-"), ("type", kind, "_.-"), ("level", level, "_.-:,")]
    {
        let fits = |c: char| c.is_ascii_alphanumeric() || also.contains(c);
        if value.len() > 255 || !value.chars().all(fits) {
            let start: String = value.chars().take(64).collect();
            return Err(Error::bad(
                format!("{field}.{name}"),
                format!("{start:?} cannot be part of a label"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
