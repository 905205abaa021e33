//! What devices change in an OCI spec.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Hook as OciHook, HookBuilder, Hooks, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType,
    LinuxIntelRdt, LinuxNamespaceType, LinuxNetDevice, Mount as OciMount, Process, Spec,
};
use rustix::fs::{major, minor};
use serde::Serialize;

use super::document::{ContainerEdits, DeviceNode, Hook, IntelRdt, Mount, NetDevice};
use crate::error::Error;
use crate::spec::device_mount;

/// Permissions that are no leave at all.
const NO_PERMISSIONS: &str = "none";
/// The runtime-spec that has `linux.netDevices` and today's `linux.intelRdt`.
const NEW_FIELDS_SINCE: &str = "1.3.0";

/// The edits of all devices of one container, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    net_devices: Vec<NetDevice>,
    mounts: Vec<Mount>,
    hooks: Vec<Hook>,
    intel_rdt: Option<IntelRdt>,
    additional_gids: Vec<u32>,
}

impl Edits {
    pub(super) fn extend(&mut self, more: &ContainerEdits) {
        let more = more.clone();
        self.env.extend(more.env);
        self.device_nodes.extend(more.device_nodes);
        self.net_devices.extend(more.net_devices);
        self.mounts.extend(more.mounts);
        self.hooks.extend(more.hooks);
        self.intel_rdt = more.intel_rdt.or(self.intel_rdt.take());
        // Group 0 says nothing: a container's processes do not get it by a device.
        self.additional_gids.extend(more.additional_gids.into_iter().filter(|gid| *gid != 0));
    }

    /// Groups that the process gets beyond those of its user.
    #[must_use]
    pub fn additional_gids(&self) -> &[u32] {
        &self.additional_gids
    }

    /// Fills in kinds and numbers of devices that the files leave to the host.
    ///
    /// # Errors
    /// Which device is not there, is none, or is of another kind than the file says.
    pub fn fill_from_host(&mut self) -> Result<(), String> {
        self.device_nodes.iter_mut().try_for_each(fill)
    }

    /// Applies everything. Pure; what fills the same place in `spec` already is replaced.
    ///
    /// # Errors
    /// [`Error::BadSpec`] for what the spec's version does not have.
    pub fn apply(&self, spec: &mut Spec) -> Result<(), Error> {
        if *self == Self::default() {
            return Ok(());
        }
        self.check_version(spec.version())?;
        set_env(process(spec), &self.env);
        for node in &self.device_nodes {
            add_device(spec, node)?;
        }
        add_mounts(spec, &self.mounts);
        for hook in &self.hooks {
            add_hook(spec, &hook.hook_name, oci_hook(hook)?);
        }
        if !self.net_devices.is_empty() {
            let all = linux(spec).net_devices_mut().get_or_insert_default();
            for device in &self.net_devices {
                let mut named = LinuxNetDevice::default();
                named.set_name(Some(device.name.clone()));
                all.insert(device.host_interface_name.clone(), named);
            }
        }
        if let Some(rdt) = &self.intel_rdt {
            linux(spec).set_intel_rdt(Some(oci_rdt(rdt)));
        }
        add_groups(process(spec), &self.additional_gids);
        Ok(())
    }

    fn check_version(&self, version: &str) -> Result<(), Error> {
        let rdt = self.intel_rdt.as_ref();
        let new_rdt = rdt.is_some_and(|rdt| rdt.schemata.is_some() || rdt.enable_monitoring.is_some());
        let old = numbers(version) < numbers(NEW_FIELDS_SINCE);
        let refuse = |what: &str| {
            let reason =
                format!("{what} need OCI runtime-spec {NEW_FIELDS_SINCE}, and the runtime takes {version}");
            Err(Error::bad("config.CDI_devices", reason))
        };
        match (old, self.net_devices.is_empty(), new_rdt) {
            (true, false, _) => refuse("network devices (netDevices)"),
            (true, _, true) => refuse("intelRdt.schemata and enableMonitoring"),
            _ => Ok(()),
        }
    }
}

fn numbers(version: &str) -> Vec<u64> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    plain.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

fn fill(node: &mut DeviceNode) -> Result<(), String> {
    if node.kind == "p" || (!node.kind.is_empty() && node.major != 0) {
        return Ok(());
    }
    let path = if node.host_path.is_empty() { &node.path } else { &node.host_path };
    let metadata = fs::metadata(path).map_err(|error| format!("device {path}: {error}"))?;
    let kind = match metadata.file_type() {
        kind if kind.is_block_device() => "b",
        kind if kind.is_char_device() => "c",
        kind if kind.is_fifo() => "p",
        _ => return Err(format!("device {path}: is not a device")),
    };
    match node.kind.as_str() {
        "" => kind.clone_into(&mut node.kind),
        // An unbuffered character device looks like any other.
        "u" if kind == "c" => {}
        wanted if wanted == kind => {}
        wanted => return Err(format!("device {path}: is of type {kind}, not {wanted}")),
    }
    if node.kind != "p" {
        (node.major, node.minor) = (i64::from(major(metadata.rdev())), i64::from(minor(metadata.rdev())));
    }
    Ok(())
}

/// A container without a process is none that we build.
fn process(spec: &mut Spec) -> &mut Process {
    spec.process_mut().get_or_insert_default()
}

fn linux(spec: &mut Spec) -> &mut Linux {
    spec.linux_mut().get_or_insert_default()
}

fn set_env(process: &mut Process, env: &[String]) {
    let all = process.env_mut().get_or_insert_default();
    for entry in env {
        let key = entry.split_once('=').map_or(entry.as_str(), |(key, _)| key);
        all.retain(|old| old.split_once('=').map_or(old.as_str(), |(old, _)| old) != key);
        all.push(entry.clone());
    }
}

fn add_device(spec: &mut Spec, node: &DeviceNode) -> Result<(), Error> {
    let kind = match node.kind.as_str() {
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        "u" => LinuxDeviceType::U,
        "p" => LinuxDeviceType::P,
        other => {
            return Err(Error::bad("config.CDI_devices", format!("{}: unknown type {other:?}", node.path)));
        }
    };
    let path = Path::new(&node.path);
    if let Some(devices) = linux(spec).devices_mut() {
        devices.retain(|other| other.path() != path);
    }
    if is_mounted(spec, node) {
        place(spec, device_mount(&node.path, Path::new(&node.host_path)));
    } else {
        let made = device(spec, node, kind);
        linux(spec).devices_mut().get_or_insert_default().push(made);
    }
    if matches!(kind, LinuxDeviceType::B | LinuxDeviceType::C) && node.permissions != NO_PERMISSIONS {
        let access = if node.permissions.is_empty() { "rwm" } else { &node.permissions };
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(Some(node.major))
            .set_minor(Some(node.minor))
            .set_access(Some(access.to_owned()));
        let resources = linux(spec).resources_mut().get_or_insert_default();
        resources.devices_mut().get_or_insert_default().push(rule);
    }
    Ok(())
}

/// In a user namespace runtimes mount a device from the host's path that is the same as the one inside.
fn is_mounted(spec: &mut Spec, node: &DeviceNode) -> bool {
    let mut namespaces = linux(spec).namespaces().iter().flatten();
    let is_renamed = !node.host_path.is_empty() && node.host_path != node.path;
    is_renamed && namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::User)
}

/// As the user whom the container runs as, unless the file says whose it is.
fn device(spec: &mut Spec, node: &DeviceNode, kind: LinuxDeviceType) -> LinuxDevice {
    let user = process(spec).user();
    let unless_root = |id: u32| Some(id).filter(|id| *id != 0);
    let mut device = LinuxDevice::default();
    device
        .set_path(PathBuf::from(&node.path))
        .set_typ(kind)
        .set_major(node.major)
        .set_minor(node.minor)
        .set_file_mode(node.file_mode)
        .set_uid(node.uid.or(unless_root(user.uid())))
        .set_gid(node.gid.or(unless_root(user.gid())));
    device
}

/// In place of what is mounted there, and behind what it may be below.
fn place(spec: &mut Spec, mount: OciMount) {
    let all = spec.mounts_mut().get_or_insert_default();
    all.retain(|other| other.destination() != mount.destination());
    all.push(mount);
    all.sort_by_key(|mount| mount.destination().components().count());
}

fn add_mounts(spec: &mut Spec, mounts: &[Mount]) {
    for mount in mounts {
        let mut options = mount.options.clone();
        let binds = options.iter().any(|option| option == "bind" || option == "rbind");
        // Without a type a host path can only be meant to be bound.
        let kind = if mount.kind.is_empty() { "bind" } else { &mount.kind };
        if kind == "bind" && !binds {
            options.insert(0, "rbind".to_owned());
        }
        let mut added = OciMount::default();
        added
            .set_destination(PathBuf::from(&mount.container_path))
            .set_typ(Some(kind.to_owned()))
            .set_source(Some(PathBuf::from(&mount.host_path)))
            .set_options(Some(options));
        place(spec, added);
    }
}

fn oci_hook(hook: &Hook) -> Result<OciHook, Error> {
    let mut builder = HookBuilder::default().path(hook.path.clone());
    if !hook.args.is_empty() {
        builder = builder.args(hook.args.clone());
    }
    if !hook.env.is_empty() {
        builder = builder.env(hook.env.clone());
    }
    if let Some(timeout) = hook.timeout {
        builder = builder.timeout(timeout);
    }
    builder.build().map_err(|error| Error::bad("config.CDI_devices", error.to_string()))
}

/// Behind the hooks of that stage that are there.
#[allow(deprecated)] // Files of vendors still name `prestart`.
pub(crate) fn add_hook(spec: &mut Spec, stage: &str, hook: OciHook) {
    let hooks: &mut Hooks = spec.hooks_mut().get_or_insert_default();
    let list = match stage {
        "prestart" => hooks.prestart_mut(),
        "createRuntime" => hooks.create_runtime_mut(),
        "createContainer" => hooks.create_container_mut(),
        "startContainer" => hooks.start_container_mut(),
        "poststart" => hooks.poststart_mut(),
        _ => hooks.poststop_mut(),
    };
    list.get_or_insert_default().push(hook);
}

#[allow(deprecated)] // Files before CDI 1.1 have the older switches.
fn oci_rdt(rdt: &IntelRdt) -> LinuxIntelRdt {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let mut oci = LinuxIntelRdt::default();
    oci.set_clos_id(text(&rdt.clos_id))
        .set_l3_cache_schema(text(&rdt.l3_cache_schema))
        .set_mem_bw_schema(text(&rdt.mem_bw_schema))
        .set_schemata(rdt.schemata.clone())
        .set_enable_monitoring(rdt.enable_monitoring)
        .set_enable_cmt(rdt.enable_cmt)
        .set_enable_mbm(rdt.enable_mbm);
    oci
}

fn add_groups(process: &mut Process, groups: &[u32]) {
    if groups.is_empty() {
        return;
    }
    let all = process.user_mut().additional_gids_mut().get_or_insert_default();
    for gid in groups {
        if !all.contains(gid) {
            all.push(*gid);
        }
    }
}
