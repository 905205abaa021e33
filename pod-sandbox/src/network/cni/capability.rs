//! Capability arguments: what a plugin may be told of one pod if its configuration asks for it
//! (CNI conventions, "Dynamic plugin specific fields").

use serde_json::{Map, Value, json};

use super::super::bandwidth::Bandwidth;
use super::super::{Attachment, Error, PortMapping};

/// containerd's burst for both directions: the most that every release of the bandwidth plugin
/// takes. In bits.
const BURST_BITS: u64 = u32::MAX as u64;

/// All arguments that this pod has to offer. `pod_cidrs` are the node's ranges, if the kubelet
/// told them.
pub(crate) fn arguments(a: &Attachment, pod_cidrs: &[String]) -> Result<Map<String, Value>, Error> {
    let ports: Vec<Value> = a.port_mappings.iter().filter(|p| p.host_port != 0).map(port).collect();
    let bandwidth = bandwidth(Bandwidth::from_annotations(&a.annotations, &a.pod_name)?);
    let ranges: Vec<Value> = pod_cidrs.iter().map(|cidr| json!([{ "subnet": cidr }])).collect();
    let dns = json!({ "servers": a.dns.servers, "searches": a.dns.searches, "options": a.dns.options });
    let has_dns = a.dns != super::super::DnsConfig::default();
    let offers = [
        ("portMappings", !ports.is_empty(), Value::Array(ports)),
        ("bandwidth", bandwidth.is_some(), bandwidth.unwrap_or_default()),
        ("dns", has_dns, dns),
        ("ipRanges", !ranges.is_empty(), Value::Array(ranges)),
        ("mac", a.mac.is_some(), json!(a.mac)),
        ("ips", !a.ips.is_empty(), json!(a.ips)),
        ("cgroupPath", !a.cgroup_path.is_empty(), json!(a.cgroup_path)),
        ("io.kubernetes.cri.pod-annotations", !a.annotations.is_empty(), json!(a.annotations)),
    ];
    Ok(offers.into_iter().filter(|(_, there, _)| *there).map(|(name, _, v)| (name.to_owned(), v)).collect())
}

fn port(mapping: &PortMapping) -> Value {
    let mut value = json!({
        "hostPort": mapping.host_port,
        "containerPort": mapping.container_port,
        "protocol": mapping.protocol.name(),
    });
    if let Some(ip) = mapping.host_ip {
        value["hostIP"] = ip.to_string().into();
    }
    value
}

fn bandwidth(limits: Bandwidth) -> Option<Value> {
    let mut value = Map::new();
    for (name, bits) in [("ingress", limits.ingress_bits), ("egress", limits.egress_bits)] {
        if bits != 0 {
            value.insert(format!("{name}Rate"), bits.into());
            value.insert(format!("{name}Burst"), BURST_BITS.into());
        }
    }
    (!value.is_empty()).then_some(Value::Object(value))
}

/// `CNI_ARGS` as pairs, in the order that the big runtimes use.
pub(crate) fn cni_args(a: &Attachment) -> Vec<[String; 2]> {
    [
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", &a.pod_namespace),
        ("K8S_POD_NAME", &a.pod_name),
        ("K8S_POD_INFRA_CONTAINER_ID", &a.sandbox_id),
        ("K8S_POD_UID", &a.pod_uid),
    ]
    .map(|(key, value)| [key.to_owned(), value.to_owned()])
    .to_vec()
}
