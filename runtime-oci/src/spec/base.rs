//! A handler's `base_spec`: an OCI spec that each container's own is laid over.
//!
//! What CRI decides is never taken from the base, so that a whole spec from another tool can be used: arguments, user,
//! capabilities, namespaces, root, seccomp and the like are ours alone. Of the rest, ours wins; in lists, entries of the
//! base stay unless ours have the same key (a mount's destination, a variable's name, a device's path, a limit's type).

use std::fs;
use std::path::Path;

use oci_spec::runtime::Spec;
use serde_json::Value;

use crate::error::Error;

/// Where only our own word counts, set or not.
const OURS_ALONE: [&str; 21] = [
    "/ociVersion",
    "/hostname",
    "/root",
    "/process/args",
    "/process/cwd",
    "/process/user",
    "/process/terminal",
    "/process/consoleSize",
    "/process/capabilities",
    "/process/noNewPrivileges",
    "/process/oomScoreAdj",
    "/process/apparmorProfile",
    "/process/selinuxLabel",
    "/linux/namespaces",
    "/linux/cgroupsPath",
    "/linux/uidMappings",
    "/linux/gidMappings",
    "/linux/seccomp",
    "/linux/rootfsPropagation",
    "/linux/mountLabel",
    "/linux/timeOffsets",
];

/// A checked spec of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct BaseSpec(Value);

impl BaseSpec {
    /// Reads the file, once, when the daemon starts.
    ///
    /// # Errors
    /// [`Error::BadBaseSpec`]: not there, no JSON, no OCI spec, or with a field that the runtime-spec does not have.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadBaseSpec { path: path.to_owned(), reason };
        let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        Self::parse(&text).map_err(bad)
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !value.is_object() {
            return Err("is not a JSON object".to_owned());
        }
        let known: Spec =
            serde_json::from_str(&with_what_must_be(&value)).map_err(|error| error.to_string())?;
        let known = serde_json::to_value(known).map_err(|error| error.to_string())?;
        if let Some(field) = unknown_field(&value, &known, "") {
            return Err(format!("{field} is not a field of the OCI runtime-spec"));
        }
        for place in OURS_ALONE {
            remove(&mut value, place);
        }
        Ok(Self(value))
    }

    /// `ours` over the base.
    ///
    /// # Errors
    /// [`Error::BadSpec`] if the two make no spec together.
    pub fn under(&self, ours: &Spec, all_devices: bool) -> Result<Spec, Error> {
        let bad = |error: serde_json::Error| Error::bad("base_spec", error.to_string());
        let ours = serde_json::to_value(ours).map_err(bad)?;
        let mut merged = self.0.clone();
        if let Some(linux) = merged.get_mut("linux").and_then(Value::as_object_mut) {
            // CRI's empty list unmasks (procMount); only where something is masked the base adds to it.
            for paths in ["maskedPaths", "readonlyPaths"] {
                if ours["linux"].get(paths).is_none() {
                    linux.remove(paths);
                }
            }
        }
        if all_devices {
            // All is allowed; a rule of the base could only take away.
            remove(&mut merged, "/linux/resources/devices");
        }
        lay_over(&mut merged, &ours, "");
        let mut spec: Spec = serde_json::from_value(merged).map_err(bad)?;
        if let Some(mounts) = spec.mounts_mut() {
            mounts.sort_by_key(|mount| mount.destination().components().count());
        }
        Ok(spec)
    }
}

/// The crate's types insist on fields that a base has no need of.
fn with_what_must_be(value: &Value) -> String {
    let mut whole = value.clone();
    let object = whole.as_object_mut();
    if let Some(object) = object {
        object.entry("ociVersion").or_insert_with(|| "1.0.2".into());
        if let Some(process) = object.get_mut("process").and_then(Value::as_object_mut) {
            process.entry("cwd").or_insert_with(|| "/".into());
            process.entry("user").or_insert_with(|| serde_json::json!({ "uid": 0, "gid": 0 }));
        }
        if let Some(root) = object.get_mut("root").and_then(Value::as_object_mut) {
            root.entry("path").or_insert_with(|| "rootfs".into());
        }
    }
    whole.to_string()
}

/// What a round trip through the types has lost. Empty values are left out by them, which loses nothing.
fn unknown_field(given: &Value, known: &Value, place: &str) -> Option<String> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given.iter().find_map(|(key, value)| {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            match known.get(key) {
                Some(known) => unknown_field(value, known, &place),
                None if is_empty(value) => None,
                None => Some(place),
            }
        }),
        (Value::Array(given), Value::Array(known)) => given
            .iter()
            .zip(known)
            .enumerate()
            .find_map(|(index, (given, known))| unknown_field(given, known, &format!("{place}[{index}]"))),
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        _ => false,
    }
}

fn remove(value: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    if let Some(parent) = value.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.remove(key);
    }
}

fn lay_over(base: &mut Value, ours: &Value, place: &str) {
    match (base, ours) {
        (Value::Object(base), Value::Object(ours)) => {
            for (key, value) in ours {
                match base.get_mut(key) {
                    Some(under) => lay_over(under, value, &format!("{place}/{key}")),
                    None => drop(base.insert(key.clone(), value.clone())),
                }
            }
        }
        (Value::Array(base), Value::Array(ours)) => lists(base, ours, place),
        (base, ours) => *base = ours.clone(),
    }
}

fn lists(base: &mut Vec<Value>, ours: &[Value], place: &str) {
    let field = |name: &'static str| move |value: &Value| value.get(name).cloned();
    match place {
        "/mounts" => keyed(base, ours, field("destination")),
        "/process/rlimits" => keyed(base, ours, field("type")),
        "/linux/devices" => keyed(base, ours, field("path")),
        "/linux/resources/hugepageLimits" => keyed(base, ours, field("pageSize")),
        "/process/env" => keyed(base, ours, |value| {
            value.as_str().map(|entry| Value::from(entry.split('=').next().unwrap_or_default()))
        }),
        "/linux/maskedPaths" | "/linux/readonlyPaths" => keyed(base, ours, |value| Some(value.clone())),
        "/linux/resources/devices" => device_rules(base, ours),
        // Hooks are run in their order, the base's first.
        hooks if hooks.starts_with("/hooks/") => base.extend_from_slice(ours),
        _ => *base = ours.to_vec(),
    }
}

/// The base's entries whose key ours do not have, then ours.
fn keyed(base: &mut Vec<Value>, ours: &[Value], key: impl Fn(&Value) -> Option<Value>) {
    let taken: Vec<_> = ours.iter().map(&key).collect();
    base.retain(|entry| !taken.contains(&key(entry)));
    base.extend_from_slice(ours);
}

/// The last rule that fits decides: behind our first, which denies everything, the base's come before ours. Its own
/// denial of everything would change nothing.
fn device_rules(base: &mut Vec<Value>, ours: &[Value]) {
    let is_for_all = |rule: &Value| {
        rule.get("type").and_then(Value::as_str).is_none_or(|kind| kind == "a")
            && rule.get("major").is_none()
            && rule.get("minor").is_none()
    };
    base.retain(|rule| !is_for_all(rule));
    let split = usize::from(ours.first().is_some_and(is_for_all));
    let (first, rest) = ours.split_at(split);
    let middle = std::mem::take(base);
    base.extend(first.iter().cloned().chain(middle).chain(rest.iter().cloned()));
}

#[cfg(test)]
mod tests;
