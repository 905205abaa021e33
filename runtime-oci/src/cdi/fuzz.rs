//! What a vendor's file may say.

use std::path::Path;

use oci_spec::runtime::Spec;

use super::document::parse;
use super::{DeviceName, Registry, check};

/// A file's text, as JSON and as YAML. Devices are not looked up on the host.
///
/// # Panics
/// On a fault.
pub fn cdi(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for is_yaml in [false, true] {
        let document =
            match parse(text, is_yaml).and_then(|document| check::document(&document).map(|()| document)) {
                Ok(document) => document,
                Err(reason) => {
                    assert!(!reason.is_empty());
                    continue;
                }
            };
        let names: Vec<String> =
            document.devices.iter().map(|device| format!("{}={}", document.kind, device.name)).collect();
        let names: Vec<DeviceName> = names
            .iter()
            .map(|name| name.parse().expect("a device of a good file can be asked for"))
            .collect();
        let mut registry = Registry::default();
        registry.add(0, Path::new("/nonexistent/vendor.json"), document);
        let edits = registry.resolve(&names).expect("what is there is found");
        let mut spec = Spec::default();
        spec.set_version("1.3.0".to_owned());
        if edits.apply(&mut spec).is_ok() {
            let once = serde_json::to_value(&spec).expect("a spec is JSON");
            edits.apply(&mut spec).expect("what was applied once can be applied again");
            let twice = serde_json::to_value(&spec).expect("a spec is JSON");
            for place in ["/process/env", "/linux/devices", "/mounts", "/process/user/additionalGids"] {
                let count = |spec: &serde_json::Value| {
                    spec.pointer(place).and_then(|all| all.as_array().map(Vec::len))
                };
                assert_eq!(count(&once), count(&twice), "{place} has something twice");
            }
        }
    }
}
