//! CDI devices that plugins add to a container.

use linkspan_runtime_oci::cdi::{DeviceName, Edits, Registry};
use linkspan_runtime_oci::spec::Spec;
use serde_json::Value;

use super::{CdiDevice, PluginError};
use crate::error::Error;
use crate::pods::Inner;
use crate::table::blocking;

/// `spec` with the devices; without any it is left alone.
///
/// # Errors
/// [`Error::Plugin`] names the plugin that wants what no file of the host has.
pub(super) async fn added(
    inner: &Inner,
    container_id: &str,
    spec: Value,
    devices: Vec<CdiDevice>,
) -> Result<Value, Error> {
    if devices.is_empty() {
        return Ok(spec);
    }
    let (dirs, id) = (inner.settings.container.cdi_spec_dirs.clone(), container_id.to_owned());
    blocking("adding devices of plugins", move || {
        let edits = edits(&Registry::read(&dirs), &devices, &id)?;
        let unreadable = |error: serde_json::Error| {
            PluginError::Refused(format!(
                "NRI plugins made a spec of container {id} that cannot be read: {error}"
            ))
        };
        let mut with_devices: Spec = serde_json::from_value(spec.clone()).map_err(unreadable)?;
        edits.apply(&mut with_devices)?;
        let mut with_devices = serde_json::to_value(with_devices).map_err(unreadable)?;
        keep(&mut with_devices, spec);
        Ok(with_devices)
    })
    .await
}

fn edits(registry: &Registry, devices: &[CdiDevice], container_id: &str) -> Result<Edits, Error> {
    let refused = |CdiDevice { plugin, name }: &CdiDevice, reason: String| {
        PluginError::Refused(format!(
            "NRI plugin {plugin}: adjustment of CDI_devices[{name:?}] of container {container_id}: {reason}"
        ))
    };
    let mut names: Vec<DeviceName> = Vec::with_capacity(devices.len());
    for device in devices {
        let name = device.name.parse().map_err(|reason| refused(device, reason))?;
        // Each for itself, so that the error has the right plugin.
        let alone = registry.resolve_on_host(std::slice::from_ref(&name));
        alone.map_err(|reason| refused(device, reason))?;
        names.push(name);
    }
    let together =
        |reason| PluginError::Refused(format!("CDI devices of NRI plugins for {container_id}: {reason}"));
    Ok(registry.resolve_on_host(&names).map_err(together)?)
}

/// Plugins may set what the types of specs do not know; devices take nothing away.
fn keep(spec: &mut Value, before: Value) {
    let (Value::Object(spec), Value::Object(before)) = (spec, before) else { return };
    for (key, value) in before {
        match spec.get_mut(&key) {
            Some(known) => keep(known, value),
            None => drop(spec.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::keep;

    #[test]
    fn what_the_types_do_not_know_is_kept_and_what_devices_changed_stays_changed() {
        let mut spec = json!({ "process": { "env": ["A=1", "B=2"] }, "linux": {} });
        keep(
            &mut spec,
            json!({ "process": { "env": ["A=1"], "new": 1 }, "linux": { "memoryPolicy": { "mode": "x" } } }),
        );
        let expected = json!({ "process": { "env": ["A=1", "B=2"], "new": 1 }, "linux": { "memoryPolicy": { "mode": "x" } } });
        assert_eq!(spec, expected);
    }
}
