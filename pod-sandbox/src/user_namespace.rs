//! Pods with users of their own (CRI `UserNamespace`, Kubernetes `hostUsers: false`): what may be asked for, and what it
//! means. What the host and a runtime lack for it is in `user_namespace/obstacle.rs`.

mod obstacle;

use linkspan_files::Access;
use linkspan_image::IdMap;

pub(crate) use obstacle::{obstacle, of_host};

use crate::error::Error;
use crate::model::{IdMapping, NamespaceMode, NamespaceOptions, SandboxConfig, UserNamespace};

/// Its value names groups, as the pod counts them; the kernel takes it in ours.
const PING_GROUP_RANGE: &str = "net.ipv4.ping_group_range";

/// The users of a pod with a user namespace, whose options were checked.
pub(crate) fn of(config: &SandboxConfig) -> Option<IdMap> {
    let options = config.linux.security_context.namespace_options.userns_options.as_ref()?;
    let mapping = options.uids.first().filter(|_| options.mode == NamespaceMode::Pod)?;
    Some(IdMap { host_id: mapping.host_id, length: mapping.length })
}

/// Who may reach what is kept of a pod. The runtime goes to the root file system as `owner`, root of the pod's user
/// namespace, whom the host's own directories bar like anybody else; hooks in the container read its spec as that.
pub(crate) fn access(owner: Option<u32>) -> Access {
    owner.map_or(Access::Private, Access::Group)
}

/// What the kubelet sends and both big runtimes keep to: one range that begins with root, for users and groups alike.
pub(crate) fn check(field: &str, options: &NamespaceOptions) -> Result<(), Error> {
    let Some(user) = &options.userns_options else { return Ok(()) };
    let bad = |name: &str, reason: String| Err(Error::bad(format!("{field}.userns_options.{name}"), reason));
    match user.mode {
        NamespaceMode::Node if user.uids.is_empty() && user.gids.is_empty() => return Ok(()),
        NamespaceMode::Node => return bad("mode", "is NODE, which goes without mappings".to_owned()),
        NamespaceMode::Pod => {}
        NamespaceMode::Container | NamespaceMode::Target => {
            return bad("mode", "only POD and NODE are known; Kubernetes has no other".to_owned());
        }
    }
    for (name, mappings) in [("uids", &user.uids), ("gids", &user.gids)] {
        if let Err(reason) = range(mappings) {
            return bad(name, reason);
        }
    }
    if user.uids != user.gids {
        return bad("gids", "is another range than uids".to_owned());
    }
    for (name, mode) in [("pid", options.pid), ("ipc", options.ipc)] {
        if mode == NamespaceMode::Node {
            // The kernel mounts /proc and /dev/mqueue for the owner of the PID and IPC namespaces only.
            let reason = "is NODE, which cannot be together with userns_options POD: the container's own /proc and \
                          /dev/mqueue cannot be those of the host's namespaces";
            return Err(Error::bad(format!("{field}.{name}"), reason));
        }
    }
    Ok(())
}

fn range(mappings: &[IdMapping]) -> Result<(), String> {
    let [mapping] = mappings else {
        return Err(format!("has {} mappings, and exactly one is supported", mappings.len()));
    };
    // The kernel's largest number is kept for "no ID".
    let fits = mapping.host_id.checked_add(mapping.length).is_some();
    match mapping {
        IdMapping { container_id: 1.., .. } => {
            Err(format!("begins with container ID {}, but 0 must be mapped", mapping.container_id))
        }
        IdMapping { length: 0, .. } => Err("has a mapping of length 0".to_owned()),
        _ if !fits => {
            Err(format!("{} IDs from host ID {} on are more than there are", mapping.length, mapping.host_id))
        }
        _ => Ok(()),
    }
}

/// A container's own options must be its pod's, or say nothing.
pub(crate) fn check_same(field: &str, own: &NamespaceOptions, pod: &NamespaceOptions) -> Result<(), Error> {
    let of_host = |user: &UserNamespace| user.mode == NamespaceMode::Node;
    let pods = pod.userns_options.as_ref().filter(|user| !of_host(user));
    let same = match &own.userns_options {
        None => true,
        Some(own) if of_host(own) => pods.is_none(),
        Some(own) => pods == Some(own),
    };
    match same {
        true => Ok(()),
        false => Err(Error::bad(format!("{field}.userns_options"), "is not the sandbox's")),
    }
}

/// A user or group of a container, by the field that it comes from.
pub(crate) fn check_mapped(users: IdMap, field: &str, id: u32) -> Result<(), Error> {
    match users.to_host(id) {
        Some(_) => Ok(()),
        None => Err(Error::bad(
            format!("config.linux.security_context.{field}"),
            format!("{id} is not among the {} IDs of the pod's user namespace", users.length),
        )),
    }
}

/// The value that gives the pod's groups what is asked for, cut off where its namespace ends.
pub(crate) fn sysctl_value(users: Option<IdMap>, name: &str, value: &str) -> String {
    let groups: Option<Vec<u32>> = value.split_whitespace().map(|word| word.parse().ok()).collect();
    match (users, groups.as_deref()) {
        // "1 0" is nobody, and stays.
        (Some(users), Some(&[first, last]))
            if name.replace('/', ".") == PING_GROUP_RANGE && first <= last =>
        {
            match (users.to_host(first), users.to_host(last.min(users.length - 1))) {
                (Some(first), Some(last)) => format!("{first} {last}"),
                _ => "1 0".to_owned(),
            }
        }
        _ => value.to_owned(),
    }
}

#[cfg(test)]
mod tests;
