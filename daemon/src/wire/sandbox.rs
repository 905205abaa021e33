//! Sandboxes: their configuration, status and place in a list.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::model::{
    DnsConfig, LinuxSandboxConfig, PortMapping, Protocol, SandboxConfig, SandboxMetadata, SandboxState,
    SandboxStatus,
};

use super::field::{BadField, Inside, each, known, not_empty, required};
use super::{resources, security};

pub(crate) fn config(wire: v1::PodSandboxConfig) -> Result<SandboxConfig, BadField> {
    Ok(SandboxConfig {
        metadata: metadata(required(wire.metadata, "metadata")?).inside("metadata")?,
        hostname: wire.hostname,
        log_directory: wire.log_directory,
        dns_config: wire.dns_config.map(|dns| DnsConfig {
            servers: dns.servers,
            searches: dns.searches,
            options: dns.options,
        }),
        port_mappings: each(wire.port_mappings, "port_mappings", port_mapping)?,
        labels: wire.labels,
        annotations: wire.annotations,
        linux: linux(wire.linux.unwrap_or_default()).inside("linux")?,
    })
}

pub(crate) fn status(model: SandboxStatus) -> v1::PodSandboxStatus {
    let mut ips = model.ips.iter().map(ToString::to_string);
    let network = v1::PodSandboxNetworkStatus {
        ip: ips.next().unwrap_or_default(),
        additional_ips: ips.map(|ip| v1::PodIp { ip }).collect(),
    };
    let options = security::namespaces_to_wire(model.namespace_options);
    v1::PodSandboxStatus {
        id: model.id.into(),
        metadata: Some(metadata_to_wire(model.metadata)),
        state: state(model.state).into(),
        created_at: model.created_at.0,
        network: Some(network),
        linux: Some(v1::LinuxPodSandboxStatus { namespaces: Some(v1::Namespace { options: Some(options) }) }),
        labels: model.labels,
        annotations: model.annotations,
        runtime_handler: model.runtime_handler,
    }
}

pub(crate) fn list_item(model: SandboxStatus) -> v1::PodSandbox {
    v1::PodSandbox {
        id: model.id.into(),
        metadata: Some(metadata_to_wire(model.metadata)),
        state: state(model.state).into(),
        created_at: model.created_at.0,
        labels: model.labels,
        annotations: model.annotations,
        runtime_handler: model.runtime_handler,
    }
}

pub(crate) fn metadata_to_wire(model: SandboxMetadata) -> v1::PodSandboxMetadata {
    v1::PodSandboxMetadata {
        name: model.name,
        uid: model.uid,
        namespace: model.namespace,
        attempt: model.attempt,
    }
}

fn metadata(wire: v1::PodSandboxMetadata) -> Result<SandboxMetadata, BadField> {
    Ok(SandboxMetadata {
        name: not_empty(wire.name, "name")?,
        uid: not_empty(wire.uid, "uid")?,
        namespace: not_empty(wire.namespace, "namespace")?,
        attempt: wire.attempt,
    })
}

fn linux(wire: v1::LinuxPodSandboxConfig) -> Result<LinuxSandboxConfig, BadField> {
    Ok(LinuxSandboxConfig {
        cgroup_parent: wire.cgroup_parent,
        security_context: security::sandbox_context(wire.security_context.unwrap_or_default())
            .inside("security_context")?,
        sysctls: wire.sysctls,
        overhead: wire.overhead.map(resources::resources),
        resources: wire.resources.map(resources::resources),
    })
}

fn port_mapping(wire: v1::PortMapping) -> Result<PortMapping, BadField> {
    Ok(PortMapping {
        protocol: match known(wire.protocol, "protocol")? {
            v1::Protocol::Tcp => Protocol::Tcp,
            v1::Protocol::Udp => Protocol::Udp,
            v1::Protocol::Sctp => Protocol::Sctp,
        },
        container_port: port(wire.container_port, "container_port")?,
        host_port: port(wire.host_port, "host_port")?,
        host_ip: match wire.host_ip.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| BadField::new("host_ip", format!("{text:?} is not an IP address")))?,
            ),
        },
    })
}

fn port(number: i32, field: &str) -> Result<u16, BadField> {
    u16::try_from(number).map_err(|_| BadField::new(field, format!("{number} is not a port")))
}

fn state(model: SandboxState) -> v1::PodSandboxState {
    match model {
        SandboxState::Ready => v1::PodSandboxState::SandboxReady,
        SandboxState::NotReady => v1::PodSandboxState::SandboxNotready,
    }
}
