//! Device nodes, and what the device cgroup lets the container do with them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType};

use super::input::{DeviceInput, DeviceKind, NamespaceInput, SpecInput};
use crate::error::Error;

const ALL_ACCESS: &str = "rwm";

/// Character devices that every container has (runtime-spec, config-linux.md, "Default Devices"): null, zero, full,
/// random, urandom, tty, console, ptmx, and any pseudo-terminal.
const DEFAULT_DEVICES: [(i64, Option<i64>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// Nodes beyond the defaults, which each runtime makes itself.
pub(super) fn nodes(input: &SpecInput) -> Result<Option<Vec<LinuxDevice>>, Error> {
    let mut seen = HashSet::new();
    let mut nodes = Vec::with_capacity(input.devices.len());
    for (index, device) in input.devices.iter().enumerate() {
        let field = |name: &str| format!("devices[{index}].{name}");
        if !device.path.starts_with('/') {
            return Err(Error::bad(field("container_path"), format!("{:?} is not absolute", device.path)));
        }
        if !seen.insert(device.path.as_str()) {
            return Err(Error::bad(field("container_path"), format!("{} is there twice", device.path)));
        }
        if device.permissions.chars().any(|letter| !ALL_ACCESS.contains(letter)) {
            return Err(Error::bad(
                field("permissions"),
                format!("{:?} is not made of r, w, m", device.permissions),
            ));
        }
        if !is_mounted(input, device) {
            nodes.push(node(device));
        }
    }
    Ok((!nodes.is_empty()).then_some(nodes))
}

/// In a user namespace runtimes mount a device from the host's, and runc does so from the path that it has inside.
pub(super) fn is_mounted(input: &SpecInput, device: &DeviceInput) -> bool {
    let renamed = !device.host_path.as_os_str().is_empty() && device.host_path != Path::new(&device.path);
    renamed && input.namespaces.user != NamespaceInput::Host
}

/// Deny everything, then allow: making nodes, the defaults, the listed ones. The order counts.
pub(super) fn rules(input: &SpecInput) -> Vec<LinuxDeviceCgroup> {
    if input.all_devices {
        return vec![rule(true, None, (None, None), ALL_ACCESS)];
    }
    let mut rules = vec![rule(false, None, (None, None), ALL_ACCESS)];
    // A node that cannot be opened is harmless, and package managers make them.
    rules.push(rule(true, Some(LinuxDeviceType::C), (None, None), "m"));
    rules.push(rule(true, Some(LinuxDeviceType::B), (None, None), "m"));
    for (major, minor) in DEFAULT_DEVICES {
        rules.push(rule(true, Some(LinuxDeviceType::C), (Some(major), minor), ALL_ACCESS));
    }
    for device in &input.devices {
        let access = if device.permissions.is_empty() { ALL_ACCESS } else { &device.permissions };
        rules.push(rule(true, Some(kind(device)), (Some(device.major), Some(device.minor)), access));
    }
    rules
}

fn node(device: &DeviceInput) -> LinuxDevice {
    let mut node = LinuxDevice::default();
    node.set_path(PathBuf::from(&device.path))
        .set_typ(kind(device))
        .set_major(device.major)
        .set_minor(device.minor)
        .set_file_mode(device.file_mode)
        .set_uid(device.uid)
        .set_gid(device.gid);
    node
}

fn kind(device: &DeviceInput) -> LinuxDeviceType {
    match device.kind {
        DeviceKind::Char => LinuxDeviceType::C,
        DeviceKind::Block => LinuxDeviceType::B,
    }
}

fn rule(
    allow: bool,
    kind: Option<LinuxDeviceType>,
    (major, minor): (Option<i64>, Option<i64>),
    access: &str,
) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow).set_typ(kind).set_major(major).set_minor(minor).set_access(Some(access.to_owned()));
    rule
}
