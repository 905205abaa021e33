//! What is mounted where: the defaults of a Linux container, then the caller's bind mounts, parents before children.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

use super::input::{MountInput, NamespaceInput, Propagation, SpecInput};
use super::{device, namespace};
use crate::error::Error;

/// A bind over one of these brings its own children; our defaults below it would hide or change them.
const SUBTREES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A node of the host's at another path, as [`device::is_mounted`] has it.
pub(crate) fn device_mount(path: &str, host_path: &Path) -> Mount {
    let options = ["bind", "rprivate", "nosuid", "noexec", "rw"];
    mount(path, "bind", &host_path.to_string_lossy(), &options)
}

/// All mounts, in the order in which the runtime makes them.
pub(super) fn mounts(input: &SpecInput) -> Result<Vec<Mount>, Error> {
    let binds: Vec<Mount> = (input.mounts.iter().enumerate())
        .map(|(index, mount)| bind(index, mount, input))
        .collect::<Result<_, _>>()?;
    let taken: HashSet<&Path> = binds.iter().map(|mount| mount.destination().as_path()).collect();
    let mut mounts = defaults(input);
    mounts.retain(|mount| !is_taken(mount.destination(), &taken));
    mounts.extend(binds);
    let mounted = input.devices.iter().filter(|node| device::is_mounted(input, node));
    mounts.extend(mounted.map(|node| device_mount(&node.path, &node.host_path)));
    // Stable: the caller's order stays among siblings, and defaults come before binds.
    mounts.sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

/// The root file system must pass on what its mounts pass on. runtime-spec, config-linux.md, "Rootfs Mount Propagation"
/// has no other words; youki takes none.
pub(super) fn rootfs_propagation(input: &SpecInput) -> Option<String> {
    let widest = input.mounts.iter().map(|mount| mount.propagation).max().unwrap_or_default();
    input.rootfs_propagation.clone().or(match widest {
        Propagation::Private => None,
        Propagation::HostToContainer => Some("slave".to_owned()),
        Propagation::Bidirectional => Some("shared".to_owned()),
    })
}

fn is_taken(default: &Path, taken: &HashSet<&Path>) -> bool {
    let below_taken = |top: &&str| default.starts_with(top) && taken.contains(Path::new(top));
    taken.contains(default) || SUBTREES.iter().any(below_taken)
}

/// runtime-spec, config-linux.md, "Default Filesystems", and what Kubernetes adds to them.
fn defaults(input: &SpecInput) -> Vec<Mount> {
    let writable = if input.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &PTS),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ];
    mounts.push(if foreign_network(input) {
        // A user namespace that does not own the network namespace may not mount a new sysfs.
        mount("/sys", "bind", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", writable])
    } else {
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable])
    });
    // The type `cgroup` stands for whatever the host has: runtimes mount v1's hierarchies or the v2 tree.
    let cgroup_access = if input.cgroup_writable { "rw" } else { writable };
    let cgroup = ["nosuid", "noexec", "nodev", "relatime", cgroup_access];
    mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &cgroup));
    mounts
}

const PTS: [&str; 6] = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];

fn foreign_network(input: &SpecInput) -> bool {
    input.namespaces.user != NamespaceInput::Host && input.namespaces.network == NamespaceInput::Host
}

fn bind(index: usize, input: &MountInput, spec: &SpecInput) -> Result<Mount, Error> {
    let field = |name: &str| format!("mounts[{index}].{name}");
    let destination = clean(&input.container_path).ok_or_else(|| {
        Error::bad(field("container_path"), format!("{:?} is no absolute path", input.container_path))
    })?;
    if destination == Path::new("/") {
        return Err(Error::bad(field("container_path"), "the root file system cannot be mounted over"));
    }
    if !input.host_path.is_absolute() {
        return Err(Error::bad(field("host_path"), format!("{:?} is not absolute", input.host_path)));
    }
    let mut options = vec!["rbind".to_owned(), propagation(input.propagation).to_owned()];
    options.push(access(index, input, spec)?.to_owned());
    options.extend(input.options.iter().cloned());
    let owners = input.owners.clone().unwrap_or_default();
    options.extend(owners.option);
    let mut mount = Mount::default();
    mount
        .set_destination(destination)
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(input.host_path.clone()))
        .set_options(Some(options))
        .set_uid_mappings(namespace::mappings(&owners.uid_mappings)?)
        .set_gid_mappings(namespace::mappings(&owners.gid_mappings)?);
    Ok(mount)
}

/// CRI `Mount.recursive_read_only`: needs `readonly` and private propagation, or it is refused.
fn access(index: usize, input: &MountInput, spec: &SpecInput) -> Result<&'static str, Error> {
    if !input.recursive_read_only {
        return Ok(if input.readonly { "ro" } else { "rw" });
    }
    let bad = |reason: &str| Err(Error::bad(format!("mounts[{index}].recursive_read_only"), reason));
    if !input.readonly {
        return bad("needs readonly");
    }
    if input.propagation != Propagation::Private {
        return bad("needs private propagation");
    }
    if !spec.recursive_read_only_supported {
        return Err(Error::RecursiveReadOnlyUnsupported { container_path: input.container_path.clone() });
    }
    Ok("rro")
}

fn propagation(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    }
}

/// Without `.`, `..` and doubled slashes, as the runtime will see it; `None` if relative.
fn clean(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let mut clean = PathBuf::from("/");
    for component in path.is_absolute().then(|| path.components())? {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(destination))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(PathBuf::from(source)))
        .set_options(Some(options.iter().map(|option| (*option).to_owned()).collect()));
    mount
}
