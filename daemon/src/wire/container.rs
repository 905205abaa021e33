//! Containers: their configuration, status and place in a list.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::model::{
    ContainerConfig, ContainerMetadata, ContainerState, ContainerStatus, Device, EnvVar,
    LinuxContainerConfig, Mount, Propagation, Signal,
};

use super::field::{BadField, Inside, each, known, not_empty, required};
use super::{image, resources, security};

pub(crate) fn config(wire: v1::ContainerConfig) -> Result<ContainerConfig, BadField> {
    let metadata = required(wire.metadata, "metadata")?;
    Ok(ContainerConfig {
        metadata: ContainerMetadata {
            name: not_empty(metadata.name, "name").inside("metadata")?,
            attempt: metadata.attempt,
        },
        image: image::named_spec(wire.image).inside("image")?,
        command: wire.command,
        args: wire.args,
        working_dir: wire.working_dir,
        envs: each(wire.envs, "envs", env_var)?,
        mounts: each(wire.mounts, "mounts", mount)?,
        devices: wire.devices.into_iter().map(device).collect(),
        cdi_devices: wire.cdi_devices.into_iter().map(|device| device.name).collect(),
        labels: wire.labels,
        annotations: wire.annotations,
        log_path: wire.log_path,
        stdin: wire.stdin,
        stdin_once: wire.stdin_once,
        tty: wire.tty,
        linux: linux(wire.linux.unwrap_or_default()).inside("linux")?,
        stop_signal: stop_signal(wire.stop_signal)?,
    })
}

pub(crate) fn status(model: ContainerStatus) -> v1::ContainerStatus {
    v1::ContainerStatus {
        id: model.id.into(),
        metadata: Some(metadata_to_wire(model.metadata)),
        state: state(model.state).into(),
        created_at: model.created_at.0,
        started_at: model.started_at.0,
        finished_at: model.finished_at.0,
        exit_code: model.exit_code,
        image: Some(image::spec_to_wire(model.image)),
        image_ref: model.image_ref,
        reason: model.reason,
        message: model.message,
        labels: model.labels,
        annotations: model.annotations,
        mounts: model.mounts.into_iter().map(mount_to_wire).collect(),
        log_path: model.log_path,
        resources: Some(v1::ContainerResources {
            linux: Some(resources::to_wire(model.resources)),
            windows: None,
        }),
        image_id: model.image_id,
        user: Some(v1::ContainerUser {
            linux: Some(v1::LinuxContainerUser {
                uid: model.user.uid,
                gid: model.user.gid,
                supplemental_groups: model.user.supplemental_groups,
            }),
        }),
        stop_signal: signal_to_wire(model.stop_signal).into(),
    }
}

pub(crate) fn list_item(model: ContainerStatus) -> v1::Container {
    v1::Container {
        id: model.id.into(),
        pod_sandbox_id: model.sandbox_id.into(),
        metadata: Some(metadata_to_wire(model.metadata)),
        image: Some(image::spec_to_wire(model.image)),
        image_ref: model.image_ref,
        state: state(model.state).into(),
        created_at: model.created_at.0,
        labels: model.labels,
        annotations: model.annotations,
        image_id: model.image_id,
    }
}

pub(crate) fn metadata_to_wire(model: ContainerMetadata) -> v1::ContainerMetadata {
    v1::ContainerMetadata { name: model.name, attempt: model.attempt }
}

fn linux(wire: v1::LinuxContainerConfig) -> Result<LinuxContainerConfig, BadField> {
    Ok(LinuxContainerConfig {
        resources: resources::resources(wire.resources.unwrap_or_default()),
        security_context: security::container_context(wire.security_context.unwrap_or_default())
            .inside("security_context")?,
    })
}

fn env_var(wire: v1::KeyValue) -> Result<EnvVar, BadField> {
    // The OCI spec is JSON: it can carry text only.
    let value = String::from_utf8(wire.value).map_err(|_| BadField::new("value", "not UTF-8"))?;
    Ok(EnvVar { key: wire.key, value })
}

fn mount(wire: v1::Mount) -> Result<Mount, BadField> {
    Ok(Mount {
        container_path: wire.container_path,
        host_path: wire.host_path,
        readonly: wire.readonly,
        selinux_relabel: wire.selinux_relabel,
        propagation: match known(wire.propagation, "propagation")? {
            v1::MountPropagation::PropagationPrivate => Propagation::Private,
            v1::MountPropagation::PropagationHostToContainer => Propagation::HostToContainer,
            v1::MountPropagation::PropagationBidirectional => Propagation::Bidirectional,
        },
        uid_mappings: wire.uid_mappings.into_iter().map(security::mapping).collect(),
        gid_mappings: wire.gid_mappings.into_iter().map(security::mapping).collect(),
        recursive_read_only: wire.recursive_read_only,
        // The kubelet sends an empty message with every ordinary mount.
        image: wire.image.filter(|spec| !spec.image.is_empty()).map(image::spec),
        image_sub_path: wire.image_sub_path,
        mount_options: wire.mount_options,
    })
}

fn mount_to_wire(model: Mount) -> v1::Mount {
    v1::Mount {
        container_path: model.container_path,
        host_path: model.host_path,
        readonly: model.readonly,
        selinux_relabel: model.selinux_relabel,
        propagation: match model.propagation {
            Propagation::Private => v1::MountPropagation::PropagationPrivate,
            Propagation::HostToContainer => v1::MountPropagation::PropagationHostToContainer,
            Propagation::Bidirectional => v1::MountPropagation::PropagationBidirectional,
        }
        .into(),
        uid_mappings: model.uid_mappings.into_iter().map(security::mapping_to_wire).collect(),
        gid_mappings: model.gid_mappings.into_iter().map(security::mapping_to_wire).collect(),
        recursive_read_only: model.recursive_read_only,
        image: model.image.map(image::spec_to_wire),
        image_sub_path: model.image_sub_path,
        mount_options: model.mount_options,
    }
}

fn device(wire: v1::Device) -> Device {
    Device { container_path: wire.container_path, host_path: wire.host_path, permissions: wire.permissions }
}

/// CRI numbers its signals by name, not as the kernel does.
fn stop_signal(number: i32) -> Result<Option<Signal>, BadField> {
    match known(number, "stop_signal")? {
        v1::Signal::RuntimeDefault => Ok(None),
        signal => signal
            .as_str_name()
            .parse()
            .map(Some)
            .map_err(|error| BadField::new("stop_signal", format!("{error}"))),
    }
}

fn signal_to_wire(model: Signal) -> v1::Signal {
    v1::Signal::from_str_name(&format!("SIGNAL_{}", model.cri_name())).unwrap_or_default()
}

fn state(model: ContainerState) -> v1::ContainerState {
    match model {
        ContainerState::Created => v1::ContainerState::ContainerCreated,
        ContainerState::Running => v1::ContainerState::ContainerRunning,
        ContainerState::Exited => v1::ContainerState::ContainerExited,
        ContainerState::Unknown => v1::ContainerState::ContainerUnknown,
    }
}
