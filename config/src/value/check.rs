//! The checks that options name. Each says what is wrong; the caller adds key and place.
//!
//! They take the option's own type by reference, whatever it is, since the macro hands them that.
#![allow(clippy::ptr_arg)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{CgroupDriver, Handler};

pub(crate) fn any<T>(_: &T) -> Result<(), String> {
    Ok(())
}

pub(crate) fn not_empty(value: &String) -> Result<(), String> {
    if value.is_empty() { Err("must not be empty".into()) } else { Ok(()) }
}

pub(crate) fn absolute(path: &PathBuf) -> Result<(), String> {
    if path.is_absolute() { Ok(()) } else { Err(format!("`{}` must be an absolute path", path.display())) }
}

pub(crate) fn absolute_if_set(path: &Option<PathBuf>) -> Result<(), String> {
    path.as_ref().map_or(Ok(()), absolute)
}

pub(crate) fn all_absolute(paths: &Vec<PathBuf>) -> Result<(), String> {
    paths.iter().try_for_each(absolute)
}

pub(crate) fn at_least<const LEAST: usize>(value: &usize) -> Result<(), String> {
    if *value >= LEAST { Ok(()) } else { Err(format!("must be at least {LEAST}, is {value}")) }
}

pub(crate) fn positive(value: &Duration) -> Result<(), String> {
    if value.is_zero() { Err("must be longer than nothing".into()) } else { Ok(()) }
}

pub(crate) fn cgroup_driver(driver: &CgroupDriver) -> Result<(), String> {
    match driver {
        CgroupDriver::Cgroupfs => Ok(()),
        CgroupDriver::Systemd => Err("`systemd` is not built yet; use `cgroupfs`".into()),
    }
}

pub(crate) fn file_name(name: &String) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if plain && !name.is_empty() && !name.starts_with('.') {
        Ok(())
    } else {
        Err(format!("`{name}` must be one name of letters, digits, `-`, `_` and `.`"))
    }
}

pub(crate) fn interface_name(name: &String) -> Result<(), String> {
    file_name(name)?;
    // IFNAMSIZ counts the terminating zero.
    if name.len() <= 15 { Ok(()) } else { Err(format!("`{name}` is longer than an interface's 15 bytes")) }
}

pub(crate) fn subnets(subnets: &Vec<String>) -> Result<(), String> {
    let mut counts = [0, 0];
    for subnet in subnets {
        let (address, bits) = parse_subnet(subnet)?;
        let most = if address.is_ipv4() { 30 } else { 126 };
        if bits == 0 || bits > most {
            return Err(format!("`{subnet}`: the prefix length must be from 1 to {most}"));
        }
        counts[usize::from(address.is_ipv6())] += 1;
    }
    match counts {
        [1, 0 | 1] => Ok(()),
        _ => Err("expected one IPv4 subnet and at most one IPv6 subnet".into()),
    }
}

fn parse_subnet(text: &str) -> Result<(IpAddr, u8), String> {
    let bad = || format!("`{text}` is no subnet such as `10.88.0.0/16`");
    let (address, bits) = text.split_once('/').ok_or_else(bad)?;
    Ok((address.parse().map_err(|_| bad())?, bits.parse().map_err(|_| bad())?))
}

pub(crate) fn capabilities(names: &Vec<String>) -> Result<(), String> {
    match names.iter().find(|name| !name.starts_with("CAP_")) {
        None => Ok(()),
        Some(name) => Err(format!("`{name}` must be a capability's name, such as CAP_CHOWN")),
    }
}

pub(crate) fn handlers(handlers: &BTreeMap<String, Handler>) -> Result<(), String> {
    for (name, handler) in handlers {
        handler_name(name)?;
        if !Path::is_absolute(&handler.path) {
            return Err(format!("{name}.path: `{}` must be an absolute path", handler.path.display()));
        }
        absolute_if_set(&handler.base_spec).map_err(|reason| format!("{name}.base_spec: {reason}"))?;
        for pattern in &handler.allowed_annotations {
            glob::Pattern::new(pattern)
                .map_err(|error| format!("{name}.allowed_annotations: `{pattern}`: {error}"))?;
        }
    }
    Ok(())
}

/// RuntimeClass handlers are DNS labels (Kubernetes node API, RuntimeClass.handler).
fn handler_name(name: &str) -> Result<(), String> {
    let inner = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if inner && !name.is_empty() && name.len() <= 63 && !name.starts_with('-') && !name.ends_with('-') {
        Ok(())
    } else {
        Err(format!("handler name `{name}` must be a DNS label: lower-case letters, digits and `-`"))
    }
}
