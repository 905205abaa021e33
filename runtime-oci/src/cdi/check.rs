//! Whether a file keeps to the specification, and to the version that it claims. Pure.

use std::collections::BTreeMap;

use super::document::{ContainerEdits, DeviceNode, Document, Hook, IntelRdt, Mount, NetDevice};
use super::name::{check_device, check_kind};

/// The released versions that say all that we read. Those before 0.3.0 know none of today's fields.
const VERSIONS: [&str; 8] = ["0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];
pub(super) const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
/// All annotations of a file or a device together, as Kubernetes limits them.
const MOST_ANNOTATION_BYTES: usize = 256 * 1024;

pub(super) fn document(document: &Document) -> Result<(), String> {
    version(document)?;
    check_kind(&document.kind)?;
    annotations(&document.annotations)?;
    if document.devices.is_empty() {
        return Err("it has no devices".to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    for device in &document.devices {
        check_device(&device.name)?;
        annotations(&device.annotations).map_err(|reason| format!("device {:?}: {reason}", device.name))?;
        if device.edits == ContainerEdits::default() {
            return Err(format!("device {:?} has no containerEdits", device.name));
        }
        if !seen.insert(device.name.as_str()) {
            return Err(format!("device {:?} is there twice", device.name));
        }
    }
    document
        .all_edits()
        .try_for_each(|(place, found)| edits(found).map_err(|reason| format!("{place}: {reason}")))
}

fn version(document: &Document) -> Result<(), String> {
    let claimed = document.version.strip_prefix('v').unwrap_or(&document.version);
    let place = |version: &str| VERSIONS.iter().position(|known| *known == version);
    let Some(claims) = place(claimed) else {
        return Err(format!("cdiVersion {:?} is none of {}", document.version, VERSIONS.join(", ")));
    };
    let (needed, what) = needed(document);
    if place(needed) > Some(claims) {
        return Err(format!("cdiVersion is {claimed}, but {what} needs at least {needed}"));
    }
    let old = |rdt: &IntelRdt| rdt.enable_cmt.is_some() || rdt.enable_mbm.is_some();
    if claimed == "1.1.0" && document.all_edits().any(|(_, edits)| edits.intel_rdt.as_ref().is_some_and(old))
    {
        return Err(
            "intelRdt.enableCMT and enableMBM are no more in 1.1.0; it has enableMonitoring".to_owned()
        );
    }
    Ok(())
}

/// The oldest version that has all that the file uses, and the thing that needs it.
fn needed(document: &Document) -> (&'static str, &'static str) {
    let any = |uses: fn(&ContainerEdits) -> bool| document.all_edits().any(|(_, edits)| uses(edits));
    let rdt = |edits: &ContainerEdits| {
        edits.intel_rdt.as_ref().is_some_and(|rdt| rdt.schemata.is_some() || rdt.enable_monitoring.is_some())
    };
    let annotated = |map: &BTreeMap<String, String>| !map.is_empty();
    let class = document.kind.split_once('/').map_or("", |(_, class)| class);
    let uses = [
        ("1.1.0", "netDevices", any(|edits| !edits.net_devices.is_empty())),
        ("1.1.0", "intelRdt.schemata or enableMonitoring", any(rdt)),
        ("0.7.0", "intelRdt", any(|edits| edits.intel_rdt.is_some())),
        ("0.7.0", "additionalGids", any(|edits| !edits.additional_gids.is_empty())),
        ("0.6.0", "an annotation", annotated(&document.annotations)),
        ("0.6.0", "an annotation", document.devices.iter().any(|device| annotated(&device.annotations))),
        ("0.6.0", "a dot in a class", class.contains('.')),
        (
            "0.5.0",
            "a device name that begins with a digit",
            document.devices.iter().any(|device| device.name.starts_with(|c: char| c.is_ascii_digit())),
        ),
        (
            "0.5.0",
            "deviceNodes.hostPath",
            any(|edits| edits.device_nodes.iter().any(|node| !node.host_path.is_empty())),
        ),
        ("0.4.0", "mounts.type", any(|edits| edits.mounts.iter().any(|mount| !mount.kind.is_empty()))),
    ];
    uses.into_iter()
        .find(|(.., used)| *used)
        .map_or(("0.3.0", "every file"), |(version, what, _)| (version, what))
}

/// Keys as Kubernetes has them: an optional domain and a name of at most 63 characters.
fn annotations(annotations: &BTreeMap<String, String>) -> Result<(), String> {
    let total: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if total > MOST_ANNOTATION_BYTES {
        return Err(format!("annotations are {total} bytes long, more than {MOST_ANNOTATION_BYTES}"));
    }
    let plain = |part: &str, most: usize| {
        let ends = part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part.ends_with(|c: char| c.is_ascii_alphanumeric());
        ends && part.len() <= most && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let is_key = |key: &str| match key.split_once('/') {
        Some((domain, name)) => plain(domain, 253) && plain(name, 63),
        None => plain(key, 63),
    };
    match annotations.keys().find(|key| !is_key(key)) {
        Some(key) => Err(format!("{key:?} is not an annotation's key")),
        None => Ok(()),
    }
}

fn edits(edits: &ContainerEdits) -> Result<(), String> {
    env(&edits.env)?;
    edits.device_nodes.iter().try_for_each(device_node)?;
    edits.mounts.iter().try_for_each(mount)?;
    edits.hooks.iter().try_for_each(hook)?;
    edits.intel_rdt.as_ref().map_or(Ok(()), intel_rdt)?;
    net_devices(&edits.net_devices)
}

fn env(env: &[String]) -> Result<(), String> {
    match env.iter().find(|entry| entry.find('=').is_none_or(|at| at == 0) || entry.contains('\0')) {
        Some(entry) => Err(format!("env {entry:?} is not of the form NAME=value")),
        None => Ok(()),
    }
}

fn device_node(node: &DeviceNode) -> Result<(), String> {
    let bad = |reason: String| Err(format!("deviceNodes, {:?}: {reason}", node.path));
    if !node.path.starts_with('/') {
        return bad("path is not absolute".to_owned());
    }
    if !node.host_path.is_empty() && !node.host_path.starts_with('/') {
        return bad(format!("hostPath {:?} is not absolute", node.host_path));
    }
    if !matches!(node.kind.as_str(), "" | "b" | "c" | "u" | "p") {
        return bad(format!("type {:?} is none of b, c, u, p", node.kind));
    }
    if node.major < 0 || node.minor < 0 {
        return bad(format!("device number {}:{} is negative", node.major, node.minor));
    }
    match node.permissions != "none" && node.permissions.chars().any(|letter| !"rwm".contains(letter)) {
        true => bad(format!("permissions {:?} are neither of r, w, m nor none", node.permissions)),
        false => Ok(()),
    }
}

fn mount(mount: &Mount) -> Result<(), String> {
    let has_parent = mount.container_path.split('/').any(|part| part == "..");
    match mount {
        _ if mount.host_path.is_empty() => {
            Err(format!("mounts, {:?}: hostPath is empty", mount.container_path))
        }
        _ if !mount.container_path.starts_with('/') || has_parent => {
            Err(format!("mounts: containerPath {:?} is no clean absolute path", mount.container_path))
        }
        _ => Ok(()),
    }
}

fn hook(hook: &Hook) -> Result<(), String> {
    let bad = |reason: String| Err(format!("hooks, {}: {reason}", hook.path.display()));
    if !HOOKS.contains(&hook.hook_name.as_str()) {
        return bad(format!("hookName {:?} is none of {}", hook.hook_name, HOOKS.join(", ")));
    }
    if !hook.path.is_absolute() {
        return bad("path is not absolute".to_owned());
    }
    if hook.timeout.is_some_and(|timeout| timeout <= 0) {
        return bad("timeout is not above zero".to_owned());
    }
    env(&hook.env).map_err(|reason| format!("hooks, {}: {reason}", hook.path.display()))
}

/// A class of service is a directory of resctrl; `/` is the root's.
fn intel_rdt(rdt: &IntelRdt) -> Result<(), String> {
    let id = rdt.clos_id.as_str();
    match id != "/" && (id.len() >= 4096 || matches!(id, "." | "..") || id.contains(['/', '\n'])) {
        true => Err(format!("intelRdt.closID {id:?} is not a directory's name")),
        false => Ok(()),
    }
}

fn net_devices(devices: &[NetDevice]) -> Result<(), String> {
    for (index, device) in devices.iter().enumerate() {
        if device.host_interface_name.is_empty() || device.name.is_empty() {
            return Err("netDevices: hostInterfaceName or name is empty".to_owned());
        }
        let same = |other: &&NetDevice| {
            other.host_interface_name == device.host_interface_name || other.name == device.name
        };
        if devices.iter().skip(index + 1).any(|other| same(&other)) {
            return Err(format!(
                "netDevices: {} or {} is there twice",
                device.host_interface_name, device.name
            ));
        }
    }
    Ok(())
}
