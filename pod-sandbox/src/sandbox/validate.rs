//! Whether a sandbox can be made at all of what was asked for. Pure; each error names the field.

use crate::error::Error;
use crate::model::{NamespaceMode, PortMapping, SandboxConfig};
use crate::{selinux, validate};

/// The kernel's limit, `__NEW_UTS_LEN`.
const LONGEST_HOSTNAME: usize = 64;
const LONGEST_DNS_ENTRY: usize = 1024;
const LONGEST_SYSCTL: usize = 4096;

/// # Errors
/// [`Error::BadConfig`] with the field below `config`; [`Error::Unimplemented`].
pub(crate) fn check(config: &SandboxConfig) -> Result<(), Error> {
    metadata(config)?;
    validate::labels("config.labels", &config.labels)?;
    validate::annotations("config.annotations", &config.annotations)?;
    if !config.log_directory.is_empty() {
        validate::path("config.log_directory", &config.log_directory)?;
    }
    hostname(&config.hostname)?;
    dns(config)?;
    ports(config)?;
    linux(config)
}

/// CNI plugins get them in `CNI_ARGS`, pairs `key=value` with `;` between them and no way to quote (CNI specification, section 2,
/// "Parameters"). What a plugin cannot read it refuses in DEL as it does in ADD, so that such a pod could not be ended either.
fn metadata(config: &SandboxConfig) -> Result<(), Error> {
    let meta = &config.metadata;
    let is_told = config.linux.security_context.namespace_options.network == NamespaceMode::Pod;
    for (field, value) in [("name", &meta.name), ("namespace", &meta.namespace), ("uid", &meta.uid)] {
        let field = format!("config.metadata.{field}");
        validate::name(&field, value)?;
        if is_told && value.contains(['=', ';']) {
            return Err(Error::bad(
                field,
                format!("{value:?} has a = or ;, which CNI plugins cannot be told"),
            ));
        }
    }
    Ok(())
}

/// What asks for no port of the host is passed over, whatever else it says.
fn ports(config: &SandboxConfig) -> Result<(), Error> {
    let nowhere = |mapping: &PortMapping| mapping.host_port != 0 && mapping.container_port == 0;
    match config.port_mappings.iter().position(nowhere) {
        Some(index) => Err(Error::bad(
            format!("config.port_mappings[{index}].container_port"),
            "0 is no port to forward to",
        )),
        None => Ok(()),
    }
}

fn hostname(hostname: &str) -> Result<(), Error> {
    validate::bounded("config.hostname", hostname, LONGEST_HOSTNAME)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    match hostname.chars().all(fits) {
        true => Ok(()),
        false => Err(Error::bad("config.hostname", format!("{hostname:?} is not a host name"))),
    }
}

/// Each entry becomes a part of a line of `resolv.conf`.
fn dns(config: &SandboxConfig) -> Result<(), Error> {
    let Some(dns) = &config.dns_config else { return Ok(()) };
    for (name, entries) in [("servers", &dns.servers), ("searches", &dns.searches), ("options", &dns.options)]
    {
        for (index, entry) in entries.iter().enumerate() {
            let field = format!("config.dns_config.{name}[{index}]");
            validate::bounded(&field, entry, LONGEST_DNS_ENTRY)?;
            if entry.is_empty() || entry.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(Error::bad(field, format!("{entry:?} is empty or has white space")));
            }
        }
    }
    Ok(())
}

fn linux(config: &SandboxConfig) -> Result<(), Error> {
    let linux = &config.linux;
    if !linux.cgroup_parent.is_empty() {
        let below = linux.cgroup_parent.trim_start_matches('/');
        validate::path("config.linux.cgroup_parent", &format!("/{below}"))?;
        if below.is_empty() {
            return Err(Error::bad("config.linux.cgroup_parent", "the root group cannot be a pod's"));
        }
    }
    let context = &linux.security_context;
    let options = "config.linux.security_context.namespace_options";
    validate::namespaces(options, &context.namespace_options)?;
    if context.namespace_options.pid == NamespaceMode::Target {
        return Err(Error::bad(format!("{options}.pid"), "TARGET is for containers"));
    }
    validate::seccomp("config.linux.security_context.seccomp", context.seccomp.as_ref())?;
    validate::apparmor("config.linux.security_context.apparmor", context.apparmor.as_ref())?;
    let labels = "config.linux.security_context.selinux_options";
    selinux::check_options(labels, context.selinux_options.as_ref())?;
    validate::ids("config.linux.security_context.supplemental_groups", &context.supplemental_groups)?;
    let ids = [("run_as_user", context.run_as_user), ("run_as_group", context.run_as_group)];
    for (name, value) in ids {
        value.map_or(Ok(()), |id| validate::id(&format!("config.linux.security_context.{name}"), id))?;
    }
    if context.run_as_group.is_some() && context.run_as_user.is_none() {
        return Err(Error::bad("config.linux.security_context.run_as_group", "needs run_as_user beside it"));
    }
    for (name, value) in &linux.sysctls {
        let start: String = name.chars().take(64).collect();
        validate::bounded(&format!("config.linux.sysctls[{start:?}]"), value, LONGEST_SYSCTL)?;
    }
    for (name, resources) in [("overhead", &linux.overhead), ("resources", &linux.resources)] {
        if let Some(resources) = resources {
            validate::resources(&format!("config.linux.{name}"), resources)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
