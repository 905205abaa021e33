//! Rules that fields of sandboxes and containers share. Each error names the field. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use linkspan_runtime_oci::{Resources, user};

use crate::error::Error;
use crate::model::{NamespaceMode, NamespaceOptions, SecurityProfile};
use crate::user_namespace;

/// The kernel's `PATH_MAX`, the closing NUL included.
const LONGEST_PATH: usize = 4096;
/// Contract: a label's key and value together.
const LONGEST_LABEL: usize = 4096;
/// Kubernetes' limit for all annotations of an object is 256 KiB; the kubelet adds its own.
const MOST_ANNOTATION_BYTES: usize = 512 * 1024;
/// Names become parts of log lines, annotations and CNI arguments.
const LONGEST_NAME: usize = 1024;
/// Less, and the runtime itself does not come up inside the group.
const LEAST_MEMORY_BYTES: i64 = 4 * 1024 * 1024;

pub(crate) fn name(field: &str, value: &str) -> Result<(), Error> {
    name_or_path(field, value)?;
    match value.contains('/') {
        true => Err(Error::bad(field, format!("{value:?} has a slash"))),
        false => Ok(()),
    }
}

fn name_or_path(field: &str, value: &str) -> Result<(), Error> {
    match value {
        "" => Err(Error::bad(field, "is empty")),
        _ if value.len() > LONGEST_NAME => {
            Err(Error::bad(field, format!("is {} bytes long, more than {LONGEST_NAME}", value.len())))
        }
        _ if value.chars().any(char::is_control) => {
            Err(Error::bad(field, format!("{value:?} has a control character")))
        }
        _ => Ok(()),
    }
}

/// Absolute, without `..`, not too long.
pub(crate) fn path(field: &str, value: &str) -> Result<(), Error> {
    bounded(field, value, LONGEST_PATH - 1)?;
    let path = Path::new(value);
    if !path.is_absolute() {
        return Err(Error::bad(field, format!("{value:?} is not an absolute path")));
    }
    no_parents(field, path)
}

/// Below another path: relative, without `..`.
pub(crate) fn relative_path(field: &str, value: &str) -> Result<(), Error> {
    bounded(field, value, LONGEST_PATH - 1)?;
    let path = Path::new(value);
    if path.is_absolute() {
        return Err(Error::bad(field, format!("{value:?} is not a relative path")));
    }
    no_parents(field, path)
}

fn no_parents(field: &str, path: &Path) -> Result<(), Error> {
    match path.components().any(|part| part == Component::ParentDir) {
        true => Err(Error::bad(field, format!("{:?} has a \"..\" in it", path.display().to_string()))),
        false => Ok(()),
    }
}

/// Not too long, and no NUL, which would end it early somewhere.
pub(crate) fn bounded(field: &str, value: &str, most: usize) -> Result<(), Error> {
    if value.len() > most {
        return Err(Error::bad(field, format!("is {} bytes long, more than {most}", value.len())));
    }
    match value.contains('\0') {
        true => Err(Error::bad(field, "has a NUL character in it")),
        false => Ok(()),
    }
}

pub(crate) fn labels(field: &str, labels: &BTreeMap<String, String>) -> Result<(), Error> {
    for (key, value) in labels {
        let length = key.len() + value.len();
        if length > LONGEST_LABEL {
            let start: String = key.chars().take(64).collect();
            let reason = format!("is {length} bytes long with its key, more than {LONGEST_LABEL}");
            return Err(Error::bad(format!("{field}[{start:?}]"), reason));
        }
    }
    Ok(())
}

pub(crate) fn annotations(field: &str, annotations: &BTreeMap<String, String>) -> Result<(), Error> {
    let total: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if total > MOST_ANNOTATION_BYTES {
        return Err(Error::bad(field, format!("are {total} bytes long, more than {MOST_ANNOTATION_BYTES}")));
    }
    Ok(())
}

pub(crate) fn id(field: &str, value: i64) -> Result<(), Error> {
    user::id(value).map(drop).map_err(|error| Error::bad(field, error.to_string()))
}

pub(crate) fn ids(field: &str, values: &[i64]) -> Result<(), Error> {
    values.iter().enumerate().try_for_each(|(index, value)| id(&format!("{field}[{index}]"), *value))
}

pub(crate) fn seccomp(field: &str, profile: Option<&SecurityProfile>) -> Result<(), Error> {
    match profile {
        Some(SecurityProfile::Localhost(file)) => path(&format!("{field}.localhost_ref"), file),
        _ => Ok(()),
    }
}

/// A profile for a program has the program's path for its name (apparmor.d(5)), and older kubelets write `localhost/`
/// before any name.
pub(crate) fn apparmor(field: &str, profile: Option<&SecurityProfile>) -> Result<(), Error> {
    match profile {
        Some(SecurityProfile::Localhost(profile)) => name_or_path(&format!("{field}.localhost_ref"), profile),
        _ => Ok(()),
    }
}

/// What both a pod's and a container's namespace options keep to.
pub(crate) fn namespaces(field: &str, options: &NamespaceOptions) -> Result<(), Error> {
    for (name, mode) in [("network", options.network), ("ipc", options.ipc)] {
        if matches!(mode, NamespaceMode::Container | NamespaceMode::Target) {
            let reason = "only POD and NODE are known; Kubernetes has no other";
            return Err(Error::bad(format!("{field}.{name}"), reason));
        }
    }
    user_namespace::check(field, options)
}

/// CRI `LinuxContainerResources`. Zero and the empty string are "not set".
pub(crate) fn resources(field: &str, resources: &Resources) -> Result<(), Error> {
    let bad = |name: &str, reason: String| Err(Error::bad(format!("{field}.{name}"), reason));
    let Resources { cpu_period, cpu_quota, cpu_shares, .. } = *resources;
    let (memory, swap) = (resources.memory_limit_bytes, resources.memory_swap_limit_bytes);
    if cpu_period != 0 && !(1_000..=1_000_000).contains(&cpu_period) {
        return bad("cpu_period", format!("{cpu_period} is not between 1000 and 1000000 microseconds"));
    }
    if cpu_quota < -1 || (1..1_000).contains(&cpu_quota) {
        return bad("cpu_quota", format!("{cpu_quota} is neither -1 nor at least 1000 microseconds"));
    }
    if cpu_shares != 0 && !(2..=262_144).contains(&cpu_shares) {
        return bad("cpu_shares", format!("{cpu_shares} is not between 2 and 262144"));
    }
    if memory < 0 || (1..LEAST_MEMORY_BYTES).contains(&memory) {
        return bad(
            "memory_limit_in_bytes",
            format!("{memory} is less than the least, {LEAST_MEMORY_BYTES}"),
        );
    }
    if swap < -1 || (swap > 0 && swap < memory) {
        return bad(
            "memory_swap_limit_in_bytes",
            format!("{swap} is neither -1 nor at least the memory limit"),
        );
    }
    if !(-1000..=1000).contains(&resources.oom_score_adj) {
        return bad("oom_score_adj", format!("{} is not between -1000 and 1000", resources.oom_score_adj));
    }
    for (name, list) in [("cpuset_cpus", &resources.cpuset_cpus), ("cpuset_mems", &resources.cpuset_mems)] {
        if !is_cpu_list(list) {
            let start: String = list.chars().take(64).collect();
            return bad(name, format!("{start:?} is not a list like 0-3,7"));
        }
    }
    if let Some(limit) = resources.hugepage_limits.iter().find(|limit| !is_page_size(&limit.page_size)) {
        let start: String = limit.page_size.chars().take(64).collect();
        return bad("hugepage_limits", format!("page_size {start:?} is not a size like 2MB or 1GB"));
    }
    let stray = |key: &&String| key.is_empty() || key.contains('/') || key.starts_with('.');
    match resources.unified.keys().find(stray) {
        Some(key) => bad("unified", format!("{key:?} is not the name of a cgroup file")),
        None => Ok(()),
    }
}

/// As in the names of the cgroup's files.
fn is_page_size(size: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    number
        .is_some_and(|number| number.len() <= 4 && !number.starts_with('0') && number.parse::<u32>().is_ok())
}

fn is_cpu_list(list: &str) -> bool {
    let number = |text: &str| text.len() <= 5 && text.parse::<u32>().is_ok();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first) && number(last),
        None => number(part),
    };
    list.is_empty() || list.split(',').all(range)
}

#[cfg(test)]
mod tests;
