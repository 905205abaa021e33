//! Results of ADD: conversion between versions, and the addresses in them.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::super::INTERFACE;
use super::version::Version;

/// Fields that came with CNI 1.1, per member of the result.
const NEW_IN_V110: [(&str, &[&str]); 2] = [
    ("interfaces", &["mtu", "socketPath", "pciID"]),
    ("routes", &["mtu", "advmss", "priority", "table", "scope"]),
];

/// What a plugin has printed, in the version `wanted`.
pub(crate) fn parse(output: &[u8], wanted: Version) -> Result<Map<String, Value>, String> {
    let result: Map<String, Value> = serde_json::from_slice(output).map_err(|error| {
        format!("result is not an object: {error}, {:?}", String::from_utf8_lossy(output))
    })?;
    let said = version(&result, wanted)?;
    let is_said = said == wanted && result.contains_key("cniVersion");
    Ok(if is_said { result } else { convert(result, wanted) })
}

/// The version that a result says it is in; `assumed` if it says nothing, as libcni does.
pub(crate) fn version(result: &Map<String, Value>, assumed: Version) -> Result<Version, String> {
    match result.get("cniVersion").and_then(Value::as_str) {
        None | Some("") => Ok(assumed),
        Some(text) => text.parse(),
    }
}

/// Rewrites a result for another version: the `version` member of addresses ended with 1.0, the
/// finer members of interfaces and routes began with 1.1.
pub(crate) fn convert(mut result: Map<String, Value>, to: Version) -> Map<String, Value> {
    result.insert("cniVersion".to_owned(), to.as_str().into());
    for ip in members(&mut result, "ips") {
        if to >= Version::V100 {
            ip.remove("version");
        } else if let Some(address) = ip.get("address").and_then(Value::as_str) {
            let version = if address.contains(':') { "6" } else { "4" };
            ip.insert("version".to_owned(), version.into());
        }
    }
    if to < Version::V110 {
        for (list, fields) in NEW_IN_V110 {
            for member in members(&mut result, list) {
                member.retain(|key, _| !fields.contains(&key.as_str()));
            }
        }
    }
    result
}

fn members<'a>(
    result: &'a mut Map<String, Value>,
    list: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    result.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// The pod's addresses in the result's order. Addresses of the host's ends of links are left out.
pub(crate) fn addresses(result: &Map<String, Value>) -> Result<Vec<IpAddr>, String> {
    let list = |name: &str| result.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let interfaces = list("interfaces");
    let interface = |ip: &Value| {
        let index = usize::try_from(ip.get("interface")?.as_u64()?).ok()?;
        interfaces.get(index)
    };
    let on_pod_interface = |ip: &Value| interface(ip).is_none_or(|i| i["name"] == INTERFACE && in_sandbox(i));
    let in_pod = |ip: &Value| interface(ip).is_none_or(in_sandbox);
    let mut chosen: Vec<&Value> = list("ips").iter().filter(|ip| on_pod_interface(ip)).collect();
    if chosen.is_empty() {
        chosen = list("ips").iter().filter(|ip| in_pod(ip)).collect();
    }
    chosen.into_iter().map(|ip| parse_address(&ip["address"])).collect()
}

fn in_sandbox(interface: &Value) -> bool {
    interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty())
}

fn parse_address(value: &Value) -> Result<IpAddr, String> {
    let text = value.as_str().unwrap_or_default();
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse().map_err(|_| format!("address {value} in the result is not one"))
}
