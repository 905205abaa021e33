//! The server itself.

use std::net::IpAddr;

use linkspan_cri_api::v1;

use super::field::BadField;

/// The node's pod network: one CIDR, or two with a comma between them; empty if none was sent.
pub(crate) fn pod_cidr(wire: v1::UpdateRuntimeConfigRequest) -> Result<String, BadField> {
    let network = wire.runtime_config.and_then(|config| config.network_config).unwrap_or_default();
    for cidr in network.pod_cidr.split(',').filter(|_| !network.pod_cidr.is_empty()) {
        if !is_cidr(cidr.trim()) {
            return Err(BadField::new(
                "pod_cidr",
                format!("{cidr:?} is not a network such as 10.244.0.0/24"),
            ));
        }
    }
    Ok(network.pod_cidr)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    match (address.parse(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}
