//! What a runtime's binary can do (runtime-spec, `features.md`).

mod asking;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(super) use asking::Asking;

/// The newest version whose rules our specs follow.
const NEWEST: (u64, u64, u64) = (1, 3, 0);
/// What every runtime of the last years takes; crun 1.8, which has no `features`, refuses anything above 1.1.0.
const WITHOUT_FEATURES: &str = "1.0.2";

/// The annotation by which runc says it, and crun too.
const CHECKPOINT: &str = "org.opencontainers.runc.checkpoint.enabled";

/// Annotations of a spec by which some runtime is steered around what its container was granted, whatever the asked one
/// says of itself: few have the field, those that have it leave out what is not their own, and what stands at a
/// handler's path may call another. A name that ends with a dot is a prefix.
const STEERING: [&str; 11] = [
    // runc (`libcontainer/specconv`): where the bundle is.
    "bundle",
    // Kata Containers before 2.0.
    "com.github.containers.virtcontainers.",
    // gVisor: flags of runsc, what mounts and the root file system really are.
    "dev.gvisor.",
    // Kata Containers: hypervisor, kernel, configuration file.
    "io.katacontainers.",
    // Who a container is to the sandboxed runtimes and to crun: ours to say, as containerd says it and as CRI-O does.
    "io.kubernetes.cri.",
    "io.kubernetes.cri-o.",
    // crun and youki with libkrun: the library that is loaded into the runtime, among others.
    "krun.",
    // crun and youki with WebAssembly.
    "module.wasm.image/variant",
    // runc, crun, youki: a file of options of CRIU, one of which names a program that is run as the host's root.
    "org.criu.config",
    // runc, crun, youki: properties of the container's systemd unit.
    "org.systemd.property.",
    // crun: what executes the container, its seccomp filter, files that are written for it.
    "run.oci.",
];

/// What a runtime's binary can do. A runtime without the `features` command can do nothing but the common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Features {
    /// Spec version to claim: the highest that the runtime takes and that we follow.
    pub oci_version: String,
    /// Mount options it knows; empty if it does not say.
    pub mount_options: Vec<String>,
    /// Namespaces it knows, `user` among them or not.
    pub namespaces: Vec<String>,
    /// It maps the owners of mounted files into a user namespace.
    pub idmapped_mounts: bool,
    pub seccomp: bool,
    pub apparmor: bool,
    pub selinux: bool,
    /// It was built to checkpoint and restore containers by CRIU; whether the host has CRIU is another question.
    pub checkpoint: bool,
    /// Annotations of a spec that it calls potentially unsafe; one that ends with a dot is a prefix.
    pub unsafe_annotations: Vec<String>,
}

impl Features {
    /// Whether an annotation of a spec steers the runtime: it says so, or some runtime is known to be steered by it
    /// (runtime-spec features.md, "Unsafe annotations in config.json").
    #[must_use]
    pub fn steered_by(&self, annotation: &str) -> bool {
        let named = |name: &str| match name.ends_with('.') {
            true => annotation.starts_with(name),
            false => annotation == name,
        };
        STEERING.into_iter().any(named) || self.unsafe_annotations.iter().any(|name| named(name))
    }

    /// Knows the mount option `rro` (CRI `RuntimeHandlerFeatures.recursive_read_only_mounts`).
    #[must_use]
    pub fn recursive_read_only(&self) -> bool {
        self.mount_options.iter().any(|option| option == "rro")
    }

    /// Makes pods with user namespaces whose volumes keep their owners (CRI `user_namespaces`).
    #[must_use]
    pub fn user_namespaces(&self) -> bool {
        self.idmapped_mounts && self.namespaces.iter().any(|name| name == "user")
    }
}

impl Default for Features {
    fn default() -> Self {
        Self {
            oci_version: WITHOUT_FEATURES.to_owned(),
            mount_options: Vec::new(),
            namespaces: Vec::new(),
            idmapped_mounts: false,
            // Nobody builds without it, and what is missing shows at the first create.
            seccomp: true,
            apparmor: false,
            selinux: false,
            checkpoint: false,
            unsafe_annotations: Vec::new(),
        }
    }
}

/// The parts that we look at; everything else may change.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Answer {
    oci_version_max: String,
    mount_options: Option<Vec<String>>,
    linux: Option<Linux>,
    annotations: Option<BTreeMap<String, String>>,
    potentially_unsafe_config_annotations: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    namespaces: Option<Vec<String>>,
    seccomp: Option<Switch>,
    apparmor: Option<Switch>,
    selinux: Option<Switch>,
    mount_extensions: Option<MountExtensions>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MountExtensions {
    idmap: Option<Switch>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Switch {
    enabled: Option<bool>,
}

/// `None` for anything but an answer.
pub(super) fn parse(json: &[u8]) -> Option<Features> {
    let answer = serde_json::from_slice::<Answer>(json).ok()?;
    let linux = answer.linux.unwrap_or_default();
    let on = |switch: Option<Switch>| switch.and_then(|switch| switch.enabled).unwrap_or(false);
    Some(Features {
        oci_version: version(&answer.oci_version_max),
        mount_options: answer.mount_options.unwrap_or_default(),
        namespaces: linux.namespaces.unwrap_or_default(),
        idmapped_mounts: on(linux.mount_extensions.and_then(|extensions| extensions.idmap)),
        // What it does not say, it may have (runtime-spec, features.md); youki 0.7 says nothing about it.
        seccomp: linux.seccomp.and_then(|switch| switch.enabled).unwrap_or(true),
        apparmor: on(linux.apparmor),
        selinux: on(linux.selinux),
        checkpoint: answer
            .annotations
            .is_some_and(|said| said.get(CHECKPOINT).is_some_and(|value| value == "true")),
        unsafe_annotations: answer.potentially_unsafe_config_annotations.unwrap_or_default(),
    })
}

/// Without a suffix: runc 1.1 says `1.0.2-dev`, crun 1.21 `1.1.0+dev`, and other runtimes would not take that from us.
fn version(max: &str) -> String {
    let numbers: Option<Vec<u64>> =
        max.split(['-', '+']).next().unwrap_or_default().split('.').map(|part| part.parse().ok()).collect();
    match numbers.as_deref() {
        Some(&[major, minor, patch]) => {
            let (major, minor, patch) = (major, minor, patch).min(NEWEST);
            format!("{major}.{minor}.{patch}")
        }
        _ => WITHOUT_FEATURES.to_owned(),
    }
}

#[cfg(test)]
mod tests;
