//! A container's OCI spec, changed as plugins want it. All of it, or an error that names the plugin.

use serde_json::{Map, Value, json};

use super::json::{array, object};
use super::{Host, Wishes, linux, mount};
use crate::api::{ContainerAdjustment, Field, Hook, Hooks, KeyValue, PosixRlimit};
use crate::error::Error;
use crate::merge::Owners;

/// Applies `wanted` to the built `spec` of a container. CDI devices are left to the caller: they are edits by files of the
/// host.
///
/// # Errors
/// [`Error::Refused`] names plugin and field.
pub fn adjust(
    spec: &mut Value,
    container_id: &str,
    wanted: &ContainerAdjustment,
    owners: &Owners,
    host: Host,
) -> Result<(), Error> {
    let wishes = Wishes { container_id, owners };
    entries(object(spec, &["annotations"]), &wanted.annotations);
    env(spec, &wanted.env);
    if !wanted.args.is_empty() {
        object(spec, &["process"]).insert("args".to_owned(), json!(wanted.args));
    }
    if let Some(wanted) = &wanted.hooks {
        hooks(spec, wanted);
    }
    rlimits(spec, &wanted.rlimits);
    mount::adjust(spec, &wishes, &wanted.mounts)?;
    wanted.linux.as_ref().map_or(Ok(()), |wanted| linux::adjust(spec, &wishes, wanted, host))
}

/// Sets entries, and takes away those whose key has a mark. Those that take away come first: a mark sorts before letters.
pub(super) fn entries(object: &mut Map<String, Value>, wanted: &std::collections::BTreeMap<String, String>) {
    for (key, value) in wanted {
        match key.strip_prefix(crate::merge::REMOVAL) {
            Some(key) => drop(object.remove(key)),
            None => drop(object.insert(key.clone(), json!(value))),
        }
    }
}

/// A variable that is there keeps its place.
fn env(spec: &mut Value, wanted: &[KeyValue]) {
    if wanted.is_empty() {
        return;
    }
    let env = array(spec, &["process"], "env");
    for KeyValue { key, value } in wanted {
        let is_it = |entry: &Value, key: &str| {
            let entry = entry.as_str().unwrap_or_default();
            entry.split_once('=').map_or(entry, |(key, _)| key) == key
        };
        match key.strip_prefix(crate::merge::REMOVAL) {
            Some(key) => env.retain(|entry| !is_it(entry, key)),
            None => {
                let new = json!(format!("{key}={value}"));
                match env.iter_mut().find(|entry| is_it(entry, key)) {
                    Some(entry) => *entry = new,
                    None => env.push(new),
                }
            }
        }
    }
}

fn hooks(spec: &mut Value, wanted: &Hooks) {
    let stages: [(&str, &[Hook]); 6] = [
        ("prestart", &wanted.prestart),
        ("createRuntime", &wanted.create_runtime),
        ("createContainer", &wanted.create_container),
        ("startContainer", &wanted.start_container),
        ("poststart", &wanted.poststart),
        ("poststop", &wanted.poststop),
    ];
    for (stage, hooks) in stages.into_iter().filter(|(_, hooks)| !hooks.is_empty()) {
        array(spec, &["hooks"], stage).extend(hooks.iter().map(hook));
    }
}

fn hook(hook: &Hook) -> Value {
    let mut value = json!({ "path": hook.path });
    let fields = object(&mut value, &[]);
    if !hook.args.is_empty() {
        fields.insert("args".to_owned(), json!(hook.args));
    }
    if !hook.env.is_empty() {
        fields.insert("env".to_owned(), json!(hook.env));
    }
    if let Some(timeout) = &hook.timeout {
        fields.insert("timeout".to_owned(), json!(timeout.value));
    }
    value
}

fn rlimits(spec: &mut Value, wanted: &[PosixRlimit]) {
    if wanted.is_empty() {
        return;
    }
    let limits = array(spec, &["process"], "rlimits");
    for limit in wanted {
        limits.retain(|known| known["type"].as_str() != Some(&limit.r#type));
        limits.push(json!({ "type": limit.r#type, "hard": limit.hard, "soft": limit.soft }));
    }
}

/// The spec's version is the newest that the runtime takes: a field that is newer would be ignored by it.
pub(super) fn check_version(
    spec: &Value,
    wishes: &Wishes<'_>,
    claim: (Field, Option<&str>),
    field: &str,
    since: (u64, u64),
) -> Result<(), Error> {
    let version = spec["ociVersion"].as_str().unwrap_or_default();
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u64>().ok());
    let has = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if has >= since {
        return Ok(());
    }
    let (major, minor) = since;
    let reason = format!(
        "the runtime takes OCI specs up to version {version}, and this came with {major}.{minor}.0: use a newer runtime"
    );
    Err(wishes.refuse(claim.0, claim.1, field, reason))
}
