//! Whether a container can be made at all of what was asked for. Pure; each error names the field.

mod mounts;

use linkspan_runtime_oci::user::UserText;

use super::cdi;
use crate::error::Error;
use crate::model::{ContainerConfig, Mount, NamespaceMode, Propagation, SandboxConfig, SecurityContext};
use crate::{selinux, user_namespace, validate};

const LONGEST_IMAGE: usize = 4096;
/// The kernel's limit for one argument or variable, `MAX_ARG_STRLEN`.
const LONGEST_ARGUMENT: usize = 128 * 1024;
const LONGEST_NAME_OF_USER: usize = 256;

/// # Errors
/// [`Error::BadConfig`] with the field below `config`; [`Error::Unimplemented`].
pub(crate) fn check(config: &ContainerConfig, sandbox: &SandboxConfig) -> Result<(), Error> {
    validate::name("config.metadata.name", &config.metadata.name)?;
    validate::bounded("config.image.image", &config.image.image, LONGEST_IMAGE)?;
    if config.image.image.is_empty() {
        return Err(Error::bad("config.image.image", "is empty"));
    }
    validate::labels("config.labels", &config.labels)?;
    validate::annotations("config.annotations", &config.annotations)?;
    process(config)?;
    log_path(config, sandbox)?;
    for (index, mount) in config.mounts.iter().enumerate() {
        check_mount(&format!("config.mounts[{index}]"), mount)?;
    }
    for (index, device) in config.devices.iter().enumerate() {
        let field = |name: &str| format!("config.devices[{index}].{name}");
        validate::path(&field("host_path"), &device.host_path)?;
        if !device.container_path.is_empty() {
            validate::path(&field("container_path"), &device.container_path)?;
        }
        if device.permissions.chars().any(|letter| !"rwm".contains(letter)) {
            return Err(Error::bad(
                field("permissions"),
                format!("{:?} is not of r, w and m", device.permissions),
            ));
        }
    }
    cdi::names(config)?;
    validate::resources("config.linux.resources", &config.linux.resources)?;
    security(&config.linux.security_context, sandbox)
}

fn process(config: &ContainerConfig) -> Result<(), Error> {
    if !config.working_dir.is_empty() {
        validate::path("config.working_dir", &config.working_dir)?;
    }
    for (name, arguments) in [("command", &config.command), ("args", &config.args)] {
        for (index, argument) in arguments.iter().enumerate() {
            validate::bounded(&format!("config.{name}[{index}]"), argument, LONGEST_ARGUMENT)?;
        }
    }
    for (index, variable) in config.envs.iter().enumerate() {
        let field = format!("config.envs[{index}]");
        validate::bounded(&format!("{field}.key"), &variable.key, LONGEST_ARGUMENT)?;
        validate::bounded(&format!("{field}.value"), &variable.value, LONGEST_ARGUMENT)?;
        if variable.key.is_empty() || variable.key.contains('=') {
            return Err(Error::bad(format!("{field}.key"), "is empty or has an equals sign"));
        }
    }
    Ok(())
}

fn log_path(config: &ContainerConfig, sandbox: &SandboxConfig) -> Result<(), Error> {
    if config.log_path.is_empty() {
        return Ok(());
    }
    validate::relative_path("config.log_path", &config.log_path)?;
    match sandbox.log_directory.is_empty() {
        true => Err(Error::bad("config.log_path", "the sandbox has no log_directory for it to be in")),
        false => Ok(()),
    }
}

fn check_mount(field: &str, mount: &Mount) -> Result<(), Error> {
    validate::path(&format!("{field}.container_path"), &mount.container_path)?;
    if mount.container_path.trim_end_matches('/').is_empty() {
        return Err(Error::bad(
            format!("{field}.container_path"),
            "the root file system cannot be mounted over",
        ));
    }
    mounts::source(field, mount)?;
    id_mappings(field, mount)?;
    if mount.recursive_read_only && !mount.readonly {
        return Err(Error::bad(format!("{field}.recursive_read_only"), "needs readonly"));
    }
    if mount.recursive_read_only && mount.propagation != Propagation::Private {
        return Err(Error::bad(format!("{field}.recursive_read_only"), "needs private propagation"));
    }
    mounts::options(field, mount)
}

/// OCI wants both or none (runtime-spec, config.md, "Mounts").
fn id_mappings(field: &str, mount: &Mount) -> Result<(), Error> {
    if mount.uid_mappings.is_empty() == mount.gid_mappings.is_empty() {
        return Ok(());
    }
    let missing = if mount.uid_mappings.is_empty() { "uidMappings" } else { "gidMappings" };
    Err(Error::bad(format!("{field}.{missing}"), "is empty; both kinds of mappings are needed, or none"))
}

fn security(context: &SecurityContext, sandbox: &SandboxConfig) -> Result<(), Error> {
    let field = |name: &str| format!("config.linux.security_context.{name}");
    if context.privileged && !sandbox.linux.security_context.privileged {
        return Err(Error::bad(
            field("privileged"),
            "the sandbox is not privileged; its own security context must say so, too",
        ));
    }
    users(context)?;
    for (name, paths) in
        [("masked_paths", &context.masked_paths), ("readonly_paths", &context.readonly_paths)]
    {
        for (index, path) in paths.iter().enumerate() {
            validate::path(&field(&format!("{name}[{index}]")), path)?;
        }
    }
    validate::seccomp(&field("seccomp"), context.seccomp.as_ref())?;
    selinux::check_options(&field("selinux_options"), context.selinux_options.as_ref())?;
    validate::apparmor(&field("apparmor"), context.apparmor.as_ref())?;
    namespaces(context, sandbox)
}

fn users(context: &SecurityContext) -> Result<(), Error> {
    let field = |name: &str| format!("config.linux.security_context.{name}");
    validate::bounded(&field("run_as_username"), &context.run_as_username, LONGEST_NAME_OF_USER)?;
    UserText::parse(&context.run_as_username)
        .map_err(|error| Error::bad(field("run_as_username"), error.to_string()))?;
    for (name, value) in [("run_as_user", context.run_as_user), ("run_as_group", context.run_as_group)] {
        value.map_or(Ok(()), |id| validate::id(&field(name), id))?;
    }
    validate::ids(&field("supplemental_groups"), &context.supplemental_groups)?;
    let (by_id, by_name) = (context.run_as_user.is_some(), !context.run_as_username.is_empty());
    if by_id && by_name {
        return Err(Error::bad(field("run_as_username"), "only one of it and run_as_user can be given"));
    }
    if context.run_as_group.is_some() && !by_id && !by_name {
        return Err(Error::bad(field("run_as_group"), "needs run_as_user or run_as_username beside it"));
    }
    Ok(())
}

/// A container shares its pod's namespaces; the host's only if the pod has them.
fn namespaces(context: &SecurityContext, sandbox: &SandboxConfig) -> Result<(), Error> {
    let field = "config.linux.security_context.namespace_options";
    let (own, pod) = (&context.namespace_options, &sandbox.linux.security_context.namespace_options);
    validate::namespaces(field, own)?;
    for (name, own, pod) in
        [("network", own.network, pod.network), ("ipc", own.ipc, pod.ipc), ("pid", own.pid, pod.pid)]
    {
        if own == NamespaceMode::Node && pod != NamespaceMode::Node {
            return Err(Error::bad(format!("{field}.{name}"), "is NODE, but the sandbox's is not"));
        }
    }
    user_namespace::check_same(field, own, pod)?;
    match (own.pid, own.target_id.is_empty()) {
        (NamespaceMode::Target, true) => {
            Err(Error::bad(format!("{field}.target_id"), "is empty, with pid TARGET"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
