//! What is mounted into a container, beyond what every container has.

mod id_mapping;

use std::path::{Path, PathBuf};

use linkspan_image::ImageConfig;
use linkspan_runtime_oci::spec::MountInput;

use super::{VolumePlan, defaults};
use crate::container::create::facts::Facts;
use crate::error::Error;
use crate::model::{ContainerConfig, Mount, NamespaceMode, Propagation};
use crate::mounts::{MountPoint, holding};
use crate::sandbox::record::SandboxRecord;

pub(super) use id_mapping::whole;

pub(super) struct Mounts {
    pub(super) inputs: Vec<MountInput>,
    /// The requested ones with their sources as they really are, for Status.
    pub(super) reported: Vec<Mount>,
    /// Sources to make.
    pub(super) missing: Vec<PathBuf>,
}

pub(super) fn decide(
    config: &ContainerConfig,
    sandbox: &SandboxRecord,
    facts: &Facts,
    volumes: &[VolumePlan],
) -> Result<Mounts, Error> {
    let mut mounts =
        Mounts { inputs: pod_files(config, sandbox, facts), reported: Vec::new(), missing: Vec::new() };
    for volume in volumes {
        mounts.inputs.push(MountInput {
            container_path: volume.container_path.display().to_string(),
            host_path: volume.host_path.clone(),
            ..MountInput::default()
        });
    }
    mounts.inputs.extend(defaults::mounts(&facts.container, config));
    for (index, (mount, source)) in config.mounts.iter().zip(&facts.sources).enumerate() {
        check_options(index, mount, facts)?;
        if let (Some(_), Some(source)) = (&mount.image, source) {
            mounts.reported.push(mount.clone());
            mounts.inputs.push(image_volume(mount, source));
            continue;
        }
        let host_path = source.clone().unwrap_or_else(|| PathBuf::from(&mount.host_path));
        if source.is_none() {
            mounts.missing.push(host_path.clone());
        }
        check_propagation(index, mount, &host_path, &facts.mount_table)?;
        mounts.reported.push(Mount { host_path: host_path.display().to_string(), ..mount.clone() });
        mounts.inputs.push(MountInput {
            container_path: mount.container_path.clone(),
            host_path,
            readonly: mount.readonly,
            recursive_read_only: mount.recursive_read_only,
            propagation: mount.propagation,
            options: options(mount, facts.restrictions.get(index)),
            owners: id_mapping::decide(index, mount, facts)?,
        });
    }
    Ok(mounts)
}

/// The request's own come last; what it takes off is for the runtime to refuse.
fn options(mount: &Mount, restrictions: Option<&Vec<&'static str>>) -> Vec<String> {
    let restrictions = restrictions.into_iter().flatten().map(|option| (*option).to_owned());
    restrictions.chain(further_options(mount)).collect()
}

/// What an image or artifact holds is for reading alone. Nothing is mounted below it, so that it is so throughout.
fn image_volume(mount: &Mount, source: &Path) -> MountInput {
    const DATA: [&str; 3] = ["nosuid", "nodev", "noexec"];
    let further = further_options(mount).into_iter().filter(|option| !DATA.contains(&option.as_str()));
    MountInput {
        container_path: mount.container_path.clone(),
        host_path: source.to_owned(),
        readonly: true,
        options: DATA.map(str::to_owned).into_iter().chain(further).collect(),
        ..MountInput::default()
    }
}

/// Those that are not `readonly` in other words.
fn further_options(mount: &Mount) -> Vec<String> {
    mount.mount_options.iter().filter(|option| !["ro", "rw"].contains(&option.as_str())).cloned().collect()
}

/// A runtime that tells what it knows is not asked for anything else: it would fail later, or not at all.
fn check_options(index: usize, mount: &Mount, facts: &Facts) -> Result<(), Error> {
    let known = &facts.features.mount_options;
    match mount.mount_options.iter().find(|option| !known.is_empty() && !known.contains(option)) {
        Some(option) => {
            let reason =
                format!("the runtime does not know {option:?} (its `features` has no such mount option)");
            Err(Error::bad(format!("config.mounts[{index}].mount_options"), reason))
        }
        None => Ok(()),
    }
}

/// The image's volumes that the request mounts nothing on.
pub(super) fn volumes(config: &ContainerConfig, image: &ImageConfig, facts: &Facts) -> Vec<VolumePlan> {
    let wanted = image.volumes.iter().map(|path| Path::new("/").join(path.trim_matches('/')));
    let free = wanted.filter(|path| path != Path::new("/") && !is_mounted(config, path));
    let plan = |(index, path): (usize, PathBuf)| VolumePlan {
        container_path: path,
        host_path: facts.volumes_dir.join(index.to_string()),
    };
    free.enumerate().map(plan).collect()
}

/// The pod's own files and `/dev/shm`, where the request mounts nothing.
fn pod_files(config: &ContainerConfig, sandbox: &SandboxRecord, facts: &Facts) -> Vec<MountInput> {
    let options = &sandbox.config.linux.security_context.namespace_options;
    let readonly = config.linux.security_context.readonly_rootfs;
    let host_shm = PathBuf::from("/dev/shm");
    let shm = if options.ipc == NamespaceMode::Node { &host_shm } else { &facts.pod_files.shm };
    let mut files = vec![
        ("/etc/resolv.conf", facts.pod_files.resolv_conf.clone(), readonly),
        ("/etc/hostname", facts.pod_files.hostname.clone(), readonly),
        ("/dev/shm", shm.clone(), false),
    ];
    // The kubelet provides it for pods with a network of their own.
    if options.network == NamespaceMode::Node {
        files.push(match &facts.pod_files.hosts {
            Some(hosts) => ("/etc/hosts", hosts.clone(), readonly),
            // The host's own is not to be written to, not even by a container that may write to its root.
            None => ("/etc/hosts", PathBuf::from("/etc/hosts"), true),
        });
    }
    files.retain(|(path, ..)| !is_mounted(config, Path::new(path)));
    let input = |(path, host_path, readonly): (&str, PathBuf, bool)| MountInput {
        container_path: path.to_owned(),
        host_path,
        readonly,
        ..MountInput::default()
    };
    files.into_iter().map(input).collect()
}

fn is_mounted(config: &ContainerConfig, path: &Path) -> bool {
    config.mounts.iter().any(|mount| Path::new(&mount.container_path) == path)
}

/// What the source is mounted on must pass mounts on, or the container would silently see none.
fn check_propagation(index: usize, mount: &Mount, source: &Path, table: &[MountPoint]) -> Result<(), Error> {
    let on = holding(table, source);
    let (enough, needed) = match mount.propagation {
        Propagation::Private => return Ok(()),
        Propagation::HostToContainer => {
            (on.is_some_and(|on| on.shared || on.slave), "a shared or slave mount")
        }
        Propagation::Bidirectional => (on.is_some_and(|on| on.shared), "a shared mount"),
    };
    if enough {
        return Ok(());
    }
    let on = on.map(|on| on.path.display().to_string()).unwrap_or_default();
    let reason = format!(
        "{} is on {on}, which is not {needed}; `mount --make-shared {on}` makes it one",
        source.display()
    );
    Err(Error::bad(format!("config.mounts[{index}].propagation"), reason))
}
