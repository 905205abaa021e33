//! From "add", "drop" and "ALL" to the five sets of the kernel, never beyond what the daemon has itself.

use std::collections::BTreeSet;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

use super::input::{CapabilityInput, SpecInput};
use crate::error::Error;

const ALL: &str = "ALL";

/// The sets of the container's first process.
pub(super) fn capabilities(input: &SpecInput) -> Result<LinuxCapabilities, Error> {
    sets(&input.capabilities, input.privileged)
}

/// Names (`CAP_…`, sorted) of what the container gets: the seccomp profile depends on them.
///
/// # Errors
/// [`Error::BadSpec`] for a name that no kernel knows.
pub fn granted(request: &CapabilityInput, privileged: bool) -> Result<Vec<String>, Error> {
    let sets = sets(request, privileged)?;
    let mut names: Vec<String> =
        sets.bounding().iter().flatten().map(|capability| format!("CAP_{capability}")).collect();
    names.sort_unstable();
    Ok(names)
}

fn sets(request: &CapabilityInput, privileged: bool) -> Result<LinuxCapabilities, Error> {
    let bounding = known(&request.bounding);
    let ambient = parse_all(
        &request.add_ambient,
        "config.linux.security_context.capabilities.add_ambient_capabilities",
    )?;
    let mut granted = if privileged { bounding.clone() } else { wanted(request, &bounding)? };
    granted.extend(&ambient);

    let granted = within(&granted, &bounding);
    let ambient = within(&ambient, &bounding);
    let mut sets = LinuxCapabilities::default();
    // Inheritable stays empty but for the ambient ones: with more in it, file capabilities of any binary in the
    // image would be honoured for non-root users (CVE-2022-24769).
    sets.set_bounding(Some(granted.clone()))
        .set_effective(Some(granted.clone()))
        .set_permitted(Some(granted))
        .set_inheritable(Some(ambient.clone()))
        .set_ambient(Some(ambient));
    Ok(sets)
}

/// Configured capabilities that the daemon does not have.
pub(super) fn warnings(input: &SpecInput) -> Vec<String> {
    let missing = outside(input.capabilities.defaults.iter(), &input.capabilities.bounding);
    missing
        .iter()
        .map(|name| format!("capability {name} is outside the daemon's bounding set: left out"))
        .collect()
}

/// Names (`CAP_…`, sorted) that were asked for and that nobody can give: the daemon does not have them. `ALL` means all
/// that it has.
#[must_use]
pub fn lacking(request: &CapabilityInput) -> Vec<String> {
    outside(request.add.iter().chain(&request.add_ambient), &request.bounding).into_iter().collect()
}

fn outside<'a>(names: impl Iterator<Item = &'a String>, bounding: &[String]) -> BTreeSet<String> {
    let bounding = known(bounding);
    let missing = names.filter(|name| !is_all(name)).filter_map(|name| parse(name));
    missing
        .filter(|capability| !bounding.contains(capability))
        .map(|capability| format!("CAP_{capability}"))
        .collect()
}

/// CRI `Capability`: "ALL" first, then single names, so that drop ALL with add X leaves X.
fn wanted(request: &CapabilityInput, bounding: &Capabilities) -> Result<Capabilities, Error> {
    let add = parse_all(&request.add, "config.linux.security_context.capabilities.add_capabilities")?;
    let drop = parse_all(&request.drop, "config.linux.security_context.capabilities.drop_capabilities")?;
    let mut set: Capabilities = if request.drop.iter().any(|name| is_all(name)) {
        Capabilities::new()
    } else if request.add.iter().any(|name| is_all(name)) {
        bounding.clone()
    } else {
        known(&request.defaults)
    };
    set.extend(add);
    for capability in &drop {
        set.remove(capability);
    }
    Ok(set)
}

fn is_all(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    name == ALL || name == "CAP_ALL"
}

fn parse(name: &str) -> Option<Capability> {
    let name = name.to_ascii_uppercase();
    Capability::from_str(name.strip_prefix("CAP_").unwrap_or(&name)).ok()
}

fn parse_all(names: &[String], field: &str) -> Result<Capabilities, Error> {
    (names.iter().filter(|name| !is_all(name)))
        .map(|name| parse(name).ok_or_else(|| Error::bad(field, format!("unknown capability {name:?}"))))
        .collect()
}

/// Names from the host or the configuration: one that is newer than our table is not given away.
fn known(names: &[String]) -> Capabilities {
    names.iter().filter_map(|name| parse(name)).collect()
}

fn within(set: &Capabilities, bounding: &Capabilities) -> Capabilities {
    set.intersection(bounding).copied().collect()
}
