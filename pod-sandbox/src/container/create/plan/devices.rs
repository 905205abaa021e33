//! Which device nodes a container has, and whose they are.

use linkspan_runtime_oci::spec::DeviceInput;

use crate::container::create::facts::Facts;
use crate::error::Error;
use crate::model::{ContainerConfig, SecurityContext};

/// The host's for a privileged container, the configured ones, then the requested ones, which take a configured one's
/// place.
pub(super) fn decide(config: &ContainerConfig, facts: &Facts) -> Result<Vec<DeviceInput>, Error> {
    let mut devices = facts.devices.host.clone();
    for device in &facts.devices.defaults {
        devices.retain(|earlier| earlier.path != device.path);
        devices.push(device.clone());
    }
    let mut requested: Vec<DeviceInput> = Vec::new();
    for (index, nodes) in facts.devices.requested.iter().enumerate() {
        for node in nodes {
            let field = |name: &str| format!("config.devices[{index}].{name}");
            if requested.iter().any(|earlier| earlier.path == node.path) {
                let reason = format!("{} is asked for by another device, too", node.path);
                return Err(Error::bad(field("container_path"), reason));
            }
            let at_its_place = facts.devices.host.iter().find(|host| host.path == node.path);
            if at_its_place.is_some_and(|host| !is_same(host, node)) {
                let reason =
                    format!("{} is another device of the host, which a privileged container has", node.path);
                return Err(Error::bad(field("container_path"), reason));
            }
            requested.push(owned(node, &config.linux.security_context, facts));
        }
    }
    devices.retain(|device| requested.iter().all(|other| other.path != device.path));
    devices.extend(requested);
    Ok(devices)
}

fn is_same(one: &DeviceInput, other: &DeviceInput) -> bool {
    (one.kind, one.major, one.minor) == (other.kind, other.major, other.minor)
}

/// Kubernetes' blog "Device ownership from security context": only what the request names, and only where it says who
/// runs. A privileged container's devices stay as the host has them.
fn owned(node: &DeviceInput, context: &SecurityContext, facts: &Facts) -> DeviceInput {
    let mut node = node.clone();
    if !facts.container.device_ownership_from_security_context || context.privileged {
        return node;
    }
    if context.run_as_user.is_some() || !context.run_as_username.is_empty() {
        node.uid = Some(facts.user.uid);
    }
    if context.run_as_group.is_some() {
        node.gid = Some(facts.user.gid);
    }
    node
}
