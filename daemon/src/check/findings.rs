//! Facts to findings: pure, so that hosts we do not have can be tested.

mod engines;

use linkspan_child::open_files::OpenFiles;
use linkspan_config::Config;

use super::facts::{Facts, Runtime};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Fine,
    /// Works, with something missing.
    Warn,
    /// Pods cannot run.
    Wrong,
}

impl Level {
    pub(super) fn word(self) -> &'static str {
        match self {
            Level::Fine => "fine",
            Level::Warn => "warn",
            Level::Wrong => "WRONG",
        }
    }
}

/// One thing about the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub subject: &'static str,
    pub text: String,
    /// What an operator can do about it.
    pub mend: Option<String>,
}

fn fine(subject: &'static str, text: impl Into<String>) -> Finding {
    Finding { level: Level::Fine, subject, text: text.into(), mend: None }
}

fn warn(subject: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { level: Level::Warn, subject, text: text.into(), mend: Some(mend.into()) }
}

fn wrong(subject: &'static str, text: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { level: Level::Wrong, subject, text: text.into(), mend: Some(mend.into()) }
}

/// Judges the facts.
pub(super) fn judge(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        privileges(facts),
        kernel(facts),
        overlay(facts),
        namespaces(facts),
        user_namespaces(facts),
        security_modules(facts),
        clock(facts),
        socket(config, facts),
    ];
    findings.extend(facts.open_files.map(open_files));
    findings.extend(capabilities(facts));
    findings.extend(cgroups(facts));
    findings.extend(runtimes(config, facts));
    findings.extend(network(config, facts));
    findings.extend(engines::judge(config, &facts.engines));
    for text in &facts.bad_files.refusing {
        findings.push(wrong("files", text, "mend or remove the file: containers are refused because of it"));
    }
    for text in &facts.bad_files.cdi {
        findings.push(warn("cdi", text, "mend the file: its devices cannot be had"));
    }
    for (address, reason) in &facts.ports_taken {
        let mend = "free the port or choose another in metrics.listen";
        findings.push(wrong("ports", format!("{address} cannot be listened on: {reason}"), mend));
    }
    findings
}

fn privileges(facts: &Facts) -> Finding {
    if facts.root {
        fine("privileges", "running as root")
    } else {
        wrong("privileges", "not root: mounts, namespaces and cgroups cannot be made", "run as root")
    }
}

fn kernel(facts: &Facts) -> Finding {
    let (major, minor) = facts.kernel;
    let text = format!("Linux {major}.{minor}");
    match facts.kernel {
        (0..=4, _) | (5, 0..=5) => {
            wrong("kernel", text + ": openat2 and pidfds are missing", "use Linux 6.5 or newer")
        }
        (5, 6..=18) => {
            warn("kernel", text + ": user namespaces for pods need 5.19", "use Linux 6.5 or newer")
        }
        (5, _) | (6, 0..=4) => warn(
            "kernel",
            text + ": images of very many layers need overlayfs of 6.5",
            "use Linux 6.5 or newer",
        ),
        _ => fine("kernel", text),
    }
}

fn overlay(facts: &Facts) -> Finding {
    if facts.file_systems.iter().any(|name| name == "overlay") {
        fine("overlayfs", "there")
    } else {
        wrong("overlayfs", "the kernel does not list it", "load it: modprobe overlay")
    }
}

fn namespaces(facts: &Facts) -> Finding {
    let missing: Vec<_> = ["mnt", "net", "ipc", "uts", "pid", "cgroup"]
        .into_iter()
        .filter(|name| !facts.namespaces.iter().any(|found| found == name))
        .collect();
    if missing.is_empty() {
        fine("namespaces", "mnt, net, ipc, uts, pid and cgroup are there")
    } else {
        wrong("namespaces", format!("missing: {}", missing.join(", ")), "use a kernel built with them")
    }
}

fn user_namespaces(facts: &Facts) -> Finding {
    if facts.max_user_namespaces > 0 {
        fine("user namespaces", format!("up to {}", facts.max_user_namespaces))
    } else {
        warn(
            "user namespaces",
            "switched off",
            "sysctl user.max_user_namespaces=15000, for pods with hostUsers: false",
        )
    }
}

fn security_modules(facts: &Facts) -> Finding {
    let has = |name| facts.lsm.split(',').any(|found| found == name);
    match (has("apparmor"), has("selinux")) {
        (true, _) if !facts.has_apparmor_parser => warn(
            "security modules",
            "AppArmor is in force, but without apparmor_parser there is no default profile: pods that ask for it are refused",
            "apt-get install apparmor",
        ),
        (true, _) => fine("security modules", "AppArmor is in force"),
        (_, true) => fine("security modules", "SELinux is in force"),
        _ => warn(
            "security modules",
            "neither AppArmor nor SELinux: pods that ask for a profile are refused",
            "boot with security=apparmor, or take it as it is",
        ),
    }
}

fn clock(facts: &Facts) -> Finding {
    /// 2025-01-01: a clock before this was never set, and TLS certificates will look not yet valid.
    const SANE_S: u64 = 1_735_689_600;
    if facts.now_s < SANE_S {
        return wrong("clock", "it was never set: TLS to registries will fail", "set it, run a time service");
    }
    match facts.clock_synchronised {
        Some(false) => warn("clock", "no time service keeps it", "enable systemd-timesyncd or chrony"),
        Some(true) => fine("clock", "kept by a time service"),
        None => fine("clock", "set; no time service that we know of runs here"),
    }
}

fn socket(config: &Config, facts: &Facts) -> Finding {
    let socket = config.grpc.socket.display();
    let state = if facts.daemon_answers { "a daemon answers on it" } else { "free" };
    fine("socket", format!("{socket}: {state}"))
}

/// The hard limit is what counts: the daemon raises its soft one by itself.
fn open_files(limit: OpenFiles) -> Finding {
    /// For 500 pods, 1,000 streaming sessions and what else there is.
    const ENOUGH: u64 = 16 << 10;
    let text = match limit.hard {
        u64::MAX => "without limit".to_owned(),
        hard => format!("up to {hard}"),
    };
    if limit.hard >= ENOUGH {
        return fine("open files", text);
    }
    warn(
        "open files",
        format!(
            "{text}: many pods or streaming sessions will reach it, and then nothing can be started or stopped"
        ),
        "LimitNOFILE=1048576 in the daemon's unit, or ulimit -Hn",
    )
}

fn capabilities(facts: &Facts) -> Vec<Finding> {
    /// capabilities(7), bit numbers of linux/capability.h.
    const NEEDED: &[(u32, &str)] =
        &[(21, "CAP_SYS_ADMIN"), (12, "CAP_NET_ADMIN"), (0, "CAP_CHOWN"), (27, "CAP_MKNOD")];
    const SYS_RESOURCE: u32 = 24;
    let has = |bit: u32| facts.capabilities & (1 << bit) != 0;
    let mut findings = Vec::new();
    for (_, name) in NEEDED.iter().filter(|(bit, _)| facts.root && !has(*bit)) {
        findings.push(wrong(
            "capabilities",
            format!("{name} is missing"),
            format!("grant {name} to the daemon"),
        ));
    }
    if facts.root && !has(SYS_RESOURCE) {
        findings.push(warn(
            "capabilities",
            "CAP_SYS_RESOURCE is missing: oom_score_adj cannot be lowered (it is clamped to the daemon's own), and hard \
             limits cannot be raised",
            "grant CAP_SYS_RESOURCE to the daemon",
        ));
    }
    findings
}

fn cgroups(facts: &Facts) -> Vec<Finding> {
    const NEEDED: &[&str] = &["cpu", "memory", "pids"];
    let v2: &[String] = facts.cgroups.v2.as_ref().map_or(&[], |(_, controllers)| controllers);
    let v1 = &facts.cgroups.v1;
    let missing: Vec<_> =
        NEEDED.iter().filter(|name| !v2.iter().chain(v1).any(|found| found == *name)).copied().collect();
    if !missing.is_empty() {
        let mend = "mount cgroup2 on /sys/fs/cgroup, with these controllers enabled";
        return vec![wrong("cgroups", format!("no controller {}", missing.join(", ")), mend)];
    }
    if v1.is_empty() {
        return vec![fine("cgroups", format!("v2 with {}", v2.join(", ")))];
    }
    let mut findings = vec![warn(
        "cgroups",
        format!("v1{} ({})", if facts.cgroups.v2.is_some() { ", hybrid" } else { "" }, v1.join(", ")),
        "v2 is where Kubernetes goes: boot with systemd.unified_cgroup_hierarchy=1",
    )];
    let uses_crun = facts.runtimes.values().any(|runtime| version_of(runtime).starts_with("crun"));
    if let (Some((place, _)), false, true) = (&facts.cgroups.v2, v2.is_empty(), uses_crun) {
        findings.push(wrong(
            "cgroups",
            format!("crun refuses a hybrid host whose v2 tree ({}) has controllers: {}", place.display(), v2.join(", ")),
            format!(
                "mount them as v1, for example: mkdir /sys/fs/cgroup/{0} && mount -t cgroup -o {0} cgroup /sys/fs/cgroup/{0}",
                v2[0]
            ),
        ));
    }
    findings
}

fn version_of(runtime: &Runtime) -> &str {
    runtime.version.as_deref().unwrap_or("")
}

fn runtimes(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.runtimes.is_empty() {
        let mend = "install crun or runc, or name one: --runtime NAME=PATH";
        findings.push(wrong("runtimes", "no OCI runtime is configured or found", mend));
    }
    for (name, runtime) in &facts.runtimes {
        let mark = if *name == config.runtime.default { " (default)" } else { "" };
        let path = runtime.path.display();
        findings.push(match (&runtime.version, &runtime.oci_version_max) {
            (Err(reason), _) => {
                let mend = "install it, or mend runtime.handlers";
                wrong("runtimes", format!("{name}{mark}: {path} does not run: {reason}"), mend)
            }
            (Ok(version), Some(oci)) => {
                fine("runtimes", format!("{name}{mark}: {version}, OCI up to {oci}, {path}"))
            }
            (Ok(version), None) => warn(
                "runtimes",
                format!("{name}{mark}: {version} has no `features`: OCI 1.0.2 is assumed, {path}"),
                "use crun 1.12, runc 1.1 or newer",
            ),
        });
    }
    findings.push(match &facts.monitor {
        Some(path) => fine("monitor", path.display().to_string()),
        None => wrong(
            "monitor",
            "linkspan-monitor was not found",
            "put it beside linkspan, or set runtime.monitor",
        ),
    });
    findings
}

fn network(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !facts.ip_forward {
        findings.push(warn(
            "network",
            "IPv4 forwarding is off: pods reach no other host",
            "sysctl net.ipv4.ip_forward=1",
        ));
    }
    if config.network.builtin {
        findings.push(fine("network", format!("built-in bridge {}", config.network.builtin_bridge)));
        return findings;
    }
    let directory = config.network.conf_dir.display();
    match facts.cni_files.first() {
        None => findings.push(warn(
            "network",
            format!("no CNI configuration in {directory}: NetworkReady is false until there is one"),
            "install a CNI network, or set network.builtin = true",
        )),
        Some(first) => findings.push(fine("network", format!("CNI configuration {}", first.display()))),
    }
    for (plugin, _) in facts.cni_plugins.iter().filter(|(_, path)| path.is_none()) {
        let dirs: Vec<_> = config.network.bin_dirs.iter().map(|dir| dir.display().to_string()).collect();
        let text = format!("the CNI plugin {plugin} is in none of {}", dirs.join(", "));
        findings.push(wrong("network", text, "install it there, or set network.bin_dirs"));
    }
    findings
}

#[cfg(test)]
mod tests;
