//! Security contexts and namespaces.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::model::{
    Capability, IdMapping, NamespaceMode, NamespaceOptions, SandboxSecurityContext, SecurityContext,
    SecurityProfile, SelinuxOptions, SupplementalGroupsPolicy, UserNamespace,
};

use super::field::{BadField, Inside, known, not_empty};

#[allow(deprecated)] // Old clients still send `seccomp_profile_path`.
pub(crate) fn sandbox_context(
    wire: v1::LinuxSandboxSecurityContext,
) -> Result<SandboxSecurityContext, BadField> {
    Ok(SandboxSecurityContext {
        namespace_options: namespaces(wire.namespace_options.unwrap_or_default())
            .inside("namespace_options")?,
        selinux_options: wire.selinux_options.map(selinux),
        run_as_user: wire.run_as_user.map(|id| id.value),
        run_as_group: wire.run_as_group.map(|id| id.value),
        readonly_rootfs: wire.readonly_rootfs,
        supplemental_groups: wire.supplemental_groups,
        supplemental_groups_policy: policy(wire.supplemental_groups_policy)?,
        privileged: wire.privileged,
        seccomp: profile(wire.seccomp, "seccomp", &wire.seccomp_profile_path, "seccomp_profile_path")?,
        apparmor: profile(wire.apparmor, "apparmor", "", "")?,
    })
}

#[allow(deprecated)] // Old clients still send `seccomp_profile_path` and `apparmor_profile`.
pub(crate) fn container_context(
    wire: v1::LinuxContainerSecurityContext,
) -> Result<SecurityContext, BadField> {
    let capabilities = wire.capabilities.unwrap_or_default();
    Ok(SecurityContext {
        capabilities: Capability {
            add_capabilities: capabilities.add_capabilities,
            drop_capabilities: capabilities.drop_capabilities,
            add_ambient_capabilities: capabilities.add_ambient_capabilities,
        },
        privileged: wire.privileged,
        namespace_options: namespaces(wire.namespace_options.unwrap_or_default())
            .inside("namespace_options")?,
        selinux_options: wire.selinux_options.map(selinux),
        run_as_user: wire.run_as_user.map(|id| id.value),
        run_as_group: wire.run_as_group.map(|id| id.value),
        run_as_username: wire.run_as_username,
        readonly_rootfs: wire.readonly_rootfs,
        supplemental_groups: wire.supplemental_groups,
        supplemental_groups_policy: policy(wire.supplemental_groups_policy)?,
        no_new_privs: wire.no_new_privs,
        masked_paths: wire.masked_paths,
        readonly_paths: wire.readonly_paths,
        seccomp: profile(wire.seccomp, "seccomp", &wire.seccomp_profile_path, "seccomp_profile_path")?,
        apparmor: profile(wire.apparmor, "apparmor", &wire.apparmor_profile, "apparmor_profile")?,
    })
}

pub(crate) fn namespaces(wire: v1::NamespaceOption) -> Result<NamespaceOptions, BadField> {
    Ok(NamespaceOptions {
        network: mode(wire.network, "network")?,
        pid: mode(wire.pid, "pid")?,
        ipc: mode(wire.ipc, "ipc")?,
        target_id: wire.target_id,
        userns_options: wire.userns_options.map(user_namespace).transpose().inside("userns_options")?,
    })
}

pub(crate) fn namespaces_to_wire(model: NamespaceOptions) -> v1::NamespaceOption {
    v1::NamespaceOption {
        network: mode_to_wire(model.network).into(),
        pid: mode_to_wire(model.pid).into(),
        ipc: mode_to_wire(model.ipc).into(),
        target_id: model.target_id,
        userns_options: model.userns_options.map(|user| v1::UserNamespace {
            mode: mode_to_wire(user.mode).into(),
            uids: user.uids.into_iter().map(mapping_to_wire).collect(),
            gids: user.gids.into_iter().map(mapping_to_wire).collect(),
        }),
    }
}

pub(crate) fn mapping(wire: v1::IdMapping) -> IdMapping {
    IdMapping { host_id: wire.host_id, container_id: wire.container_id, length: wire.length }
}

pub(crate) fn mapping_to_wire(model: IdMapping) -> v1::IdMapping {
    v1::IdMapping { host_id: model.host_id, container_id: model.container_id, length: model.length }
}

fn user_namespace(wire: v1::UserNamespace) -> Result<UserNamespace, BadField> {
    Ok(UserNamespace {
        mode: mode(wire.mode, "mode")?,
        uids: wire.uids.into_iter().map(mapping).collect(),
        gids: wire.gids.into_iter().map(mapping).collect(),
    })
}

fn mode(number: i32, field: &str) -> Result<NamespaceMode, BadField> {
    Ok(match known(number, field)? {
        v1::NamespaceMode::Pod => NamespaceMode::Pod,
        v1::NamespaceMode::Container => NamespaceMode::Container,
        v1::NamespaceMode::Node => NamespaceMode::Node,
        v1::NamespaceMode::Target => NamespaceMode::Target,
    })
}

fn mode_to_wire(model: NamespaceMode) -> v1::NamespaceMode {
    match model {
        NamespaceMode::Pod => v1::NamespaceMode::Pod,
        NamespaceMode::Container => v1::NamespaceMode::Container,
        NamespaceMode::Node => v1::NamespaceMode::Node,
        NamespaceMode::Target => v1::NamespaceMode::Target,
    }
}

fn policy(number: i32) -> Result<SupplementalGroupsPolicy, BadField> {
    Ok(match known(number, "supplemental_groups_policy")? {
        v1::SupplementalGroupsPolicy::Merge => SupplementalGroupsPolicy::Merge,
        v1::SupplementalGroupsPolicy::Strict => SupplementalGroupsPolicy::Strict,
    })
}

fn selinux(wire: v1::SeLinuxOption) -> SelinuxOptions {
    SelinuxOptions { user: wire.user, role: wire.role, kind: wire.r#type, level: wire.level }
}

/// The message, or else the string that it replaced: `runtime/default`, `unconfined`, `localhost/…`.
fn profile(
    new: Option<v1::SecurityProfile>,
    new_field: &str,
    old: &str,
    old_field: &str,
) -> Result<Option<SecurityProfile>, BadField> {
    use v1::security_profile::ProfileType;
    let Some(new) = new else {
        return match old {
            "" => Ok(None),
            "runtime/default" | "docker/default" => Ok(Some(SecurityProfile::RuntimeDefault)),
            "unconfined" => Ok(Some(SecurityProfile::Unconfined)),
            _ => match old.strip_prefix("localhost/") {
                Some(reference) if !reference.is_empty() => {
                    Ok(Some(SecurityProfile::Localhost(reference.to_owned())))
                }
                _ => Err(BadField::new(old_field, format!("unknown profile {old:?}"))),
            },
        };
    };
    Ok(Some(match known(new.profile_type, "profile_type").inside(new_field)? {
        ProfileType::RuntimeDefault => SecurityProfile::RuntimeDefault,
        ProfileType::Unconfined => SecurityProfile::Unconfined,
        ProfileType::Localhost => {
            SecurityProfile::Localhost(not_empty(new.localhost_ref, "localhost_ref").inside(new_field)?)
        }
    }))
}
