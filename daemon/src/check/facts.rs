//! What is read of the host: plain data, no judgement.

pub(super) mod engines;

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use linkspan_child::open_files::{self, OpenFiles};
use linkspan_child::{Command, Stdio};
use linkspan_config::{Config, Handler};
use linkspan_runtime_oci::cdi::Registry;
use linkspan_runtime_oci::oci_hooks::OciHooks;
use linkspan_runtime_oci::spec::BaseSpec;
use rustix::net::sockopt;

use engines::Engines;

/// Everything that the findings are judged by.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) root: bool,
    /// `CapEff` of this process.
    pub(super) capabilities: u64,
    /// Major and minor.
    pub(super) kernel: (u32, u32),
    pub(super) file_systems: Vec<String>,
    /// Names below `/proc/self/ns`.
    pub(super) namespaces: Vec<String>,
    /// `user.max_user_namespaces`.
    pub(super) max_user_namespaces: u64,
    pub(super) cgroups: CgroupMounts,
    pub(super) runtimes: BTreeMap<String, Runtime>,
    pub(super) monitor: Option<PathBuf>,
    /// CNI configuration files, in lexical order.
    pub(super) cni_files: Vec<PathBuf>,
    /// `type` of each plugin that the first configuration names, with where its binary is.
    pub(super) cni_plugins: BTreeMap<String, Option<PathBuf>>,
    pub(super) ip_forward: bool,
    /// Whether the kernel says that the clock is kept in step by some time service.
    pub(super) clock_synchronised: Option<bool>,
    /// Seconds since the epoch.
    pub(super) now_s: u64,
    /// Why an address that the daemon shall listen on cannot be had.
    pub(super) ports_taken: Vec<(SocketAddr, String)>,
    /// Files of the node's administrator that containers depend on and that are no good.
    pub(super) bad_files: BadFiles,
    /// Linux security modules in force.
    pub(super) lsm: String,
    pub(super) has_apparmor_parser: bool,
    /// Whether something answers on the CRI socket.
    pub(super) daemon_answers: bool,
    /// `RLIMIT_NOFILE` of the daemon that answers, else of this process, which a daemon started from here would get.
    pub(super) open_files: Option<OpenFiles>,
    pub(super) engines: Engines,
}

/// Where cgroups are mounted.
#[derive(Clone, Debug, Default)]
pub(super) struct CgroupMounts {
    /// The v2 tree with its `cgroup.controllers`.
    pub(super) v2: Option<(PathBuf, Vec<String>)>,
    /// Controllers of v1 hierarchies.
    pub(super) v1: Vec<String>,
}

/// What is wrong with files that the configuration names.
#[derive(Clone, Debug, Default)]
pub(super) struct BadFiles {
    /// Of OCI hooks directories, and handlers' `base_spec`s.
    pub(super) refusing: Vec<String>,
    /// CDI files that are passed over.
    pub(super) cdi: Vec<String>,
}

/// One configured OCI runtime.
#[derive(Clone, Debug)]
pub(super) struct Runtime {
    pub(super) path: PathBuf,
    /// First line of `--version`, or why it could not be run.
    pub(super) version: Result<String, String>,
    /// `ociVersionMax` of `features`; `None`: no such sub-command.
    pub(super) oci_version_max: Option<String>,
}

fn bad_files(config: &Config) -> BadFiles {
    let hooks = OciHooks::read(&config.runtime.hooks_dirs).map(drop);
    let bases = config.runtime.handlers.values().filter_map(|handler| handler.base_spec.as_deref());
    let bases = bases.map(|path| BaseSpec::read(path).map(drop));
    BadFiles {
        refusing: bases.chain([hooks]).filter_map(|read| Some(read.err()?.to_string())).collect(),
        cdi: Registry::read(&config.container.cdi_spec_dirs)
            .problems()
            .map(|(path, reason)| format!("{}: {reason}", path.display()))
            .collect(),
    }
}

/// Reads all facts. What cannot be read counts as not there.
pub(super) async fn read(config: &Config) -> Facts {
    let daemon = UnixStream::connect(&config.grpc.socket).ok();
    let (cni_files, cni_plugins) = cni(config);
    let engines = engines::read(config, daemon.as_ref()).await;
    let mut runtimes = BTreeMap::new();
    for (name, handler) in &config.runtime.handlers {
        runtimes.insert(name.clone(), runtime(handler).await);
    }
    Facts {
        root: rustix::process::geteuid().is_root(),
        capabilities: status_field("CapEff").and_then(|hex| u64::from_str_radix(&hex, 16).ok()).unwrap_or(0),
        kernel: kernel(&text("/proc/sys/kernel/osrelease")),
        file_systems: text("/proc/filesystems")
            .lines()
            .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
            .collect(),
        namespaces: names_in(Path::new("/proc/self/ns")),
        max_user_namespaces: text("/proc/sys/user/max_user_namespaces").trim().parse().unwrap_or(0),
        cgroups: cgroups(&text("/proc/self/mountinfo")),
        runtimes,
        bad_files: bad_files(config),
        monitor: config.runtime.monitor.clone().filter(|path| is_executable(path)),
        cni_files,
        cni_plugins,
        ip_forward: text("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        clock_synchronised: clock_synchronised(),
        now_s: std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |elapsed| elapsed.as_secs()),
        ports_taken: ports_taken(config),
        lsm: text("/sys/kernel/security/lsm").trim().to_owned(),
        has_apparmor_parser: linkspan_runtime_oci::apparmor::parser().is_some(),
        open_files: Some(daemon.as_ref().and_then(open_files_of).unwrap_or_else(open_files::limit)),
        daemon_answers: daemon.is_some(),
        engines,
    }
}

/// The limits of who listens on the socket.
fn open_files_of(daemon: &UnixStream) -> Option<OpenFiles> {
    let pid = sockopt::socket_peercred(daemon).ok()?.pid.as_raw_nonzero();
    open_files_in(&text(&format!("/proc/{pid}/limits")))
}

/// From a process's `limits` (proc(5)): `Max open files  1024  524288  files`.
fn open_files_in(limits: &str) -> Option<OpenFiles> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let mut numbers = line.split_whitespace().map(|word| word.parse().unwrap_or(u64::MAX));
    Some(OpenFiles { soft: numbers.next()?, hard: numbers.next()? })
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn status_field(name: &str) -> Option<String> {
    let status = text("/proc/self/status");
    status.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()))
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn kernel(release: &str) -> (u32, u32) {
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// From `/proc/self/mountinfo` (proc(5)): fields before ` - `, then type, source, super options.
fn cgroups(mountinfo: &str) -> CgroupMounts {
    let mut found = CgroupMounts::default();
    for line in mountinfo.lines() {
        let Some((mount, file_system)) = line.split_once(" - ") else { continue };
        let mut file_system = file_system.split(' ');
        let kind = file_system.next().unwrap_or("");
        let place = PathBuf::from(mount.split(' ').nth(4).unwrap_or(""));
        if kind == "cgroup2" {
            let controllers = fs::read_to_string(place.join("cgroup.controllers")).unwrap_or_default();
            found.v2 = Some((place, controllers.split_whitespace().map(str::to_owned).collect()));
        } else if kind == "cgroup" {
            const NOT_CONTROLLERS: &[&str] =
                &["rw", "ro", "xattr", "release_agent", "clone_children", "none"];
            let options = file_system.nth(1).unwrap_or("").split(',');
            found.v1.extend(
                options.filter(|o| !NOT_CONTROLLERS.contains(o) && !o.contains('=')).map(str::to_owned),
            );
        }
    }
    found
}

async fn runtime(handler: &Handler) -> Runtime {
    let version = output(&handler.path, "--version").await;
    let features = output(&handler.path, "features").await.ok();
    let features = features.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    Runtime {
        path: handler.path.clone(),
        version: version.map(|text| text.lines().next().unwrap_or("").to_owned()),
        oci_version_max: features.and_then(|json| Some(json["ociVersionMax"].as_str()?.to_owned())),
    }
}

async fn output(binary: &Path, argument: &str) -> Result<String, String> {
    const LONGEST: Duration = Duration::from_secs(10);
    let mut command = Command::new(binary);
    command.arg(argument).stdin(Stdio::Null).stdout(Stdio::Piped).stderr(Stdio::Piped).kill_on_drop(true);
    let run = async { command.spawn()?.wait_with_output().await };
    match tokio::time::timeout(LONGEST, run).await {
        Err(_) => Err(format!("`{} {argument}` did not end within 10 s", binary.display())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn cni(config: &Config) -> (Vec<PathBuf>, BTreeMap<String, Option<PathBuf>>) {
    let directory = &config.network.conf_dir;
    let is_conf =
        |name: &String| ["conf", "conflist", "json"].iter().any(|end| name.ends_with(&format!(".{end}")));
    let files: Vec<_> =
        names_in(directory).into_iter().filter(is_conf).map(|name| directory.join(name)).collect();
    let first = files.first().and_then(|path| fs::read_to_string(path).ok());
    let json: serde_json::Value = first.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let listed = json["plugins"].as_array().cloned().unwrap_or_else(|| vec![json.clone()]);
    let mut types: Vec<String> = Vec::new();
    for plugin in &listed {
        types.extend(plugin["type"].as_str().map(str::to_owned));
        types.extend(plugin["ipam"]["type"].as_str().map(str::to_owned));
    }
    let find = |name: &str| {
        config.network.bin_dirs.iter().map(|dir| dir.join(name)).find(|path| is_executable(path))
    };
    (files, types.into_iter().map(|name| (name.clone(), find(&name))).collect())
}

/// adjtimex(2) is what time services tell the kernel by; its unsynchronised bit shows in this file's absence of
/// any other unprivileged place, so systemd's and chrony's own marks are read.
fn clock_synchronised() -> Option<bool> {
    let marks = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/ntpd.pid"];
    let any_service = Path::new("/run/systemd/system").exists();
    if marks.iter().any(|mark| Path::new(mark).exists()) { Some(true) } else { any_service.then_some(false) }
}

fn ports_taken(config: &Config) -> Vec<(SocketAddr, String)> {
    let taken =
        |address: &SocketAddr| TcpListener::bind(address).err().map(|error| (*address, error.to_string()));
    config.metrics.listen.iter().filter_map(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup_mounts_are_read_from_mountinfo() {
        let mountinfo = "\
            30 24 0:26 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
            31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            32 24 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            33 24 0:29 / /nowhere/unified rw - cgroup2 cgroup2 rw\n";
        let found = cgroups(mountinfo);
        assert_eq!(found.v1, ["memory", "cpu", "cpuacct"]);
        assert_eq!(found.v2, Some(("/nowhere/unified".into(), Vec::new())));
    }

    #[test]
    fn kernel_releases_of_distributions_are_understood() {
        assert_eq!(kernel("6.18.44-fc-v669\n"), (6, 18));
        assert_eq!(kernel("5.10.0-35-cloud-amd64"), (5, 10));
        assert_eq!(kernel(""), (0, 0));
    }

    #[test]
    fn limits_of_a_process_are_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
            Max core file size        0                    unlimited            bytes     \n\
            Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_in(limits), Some(OpenFiles { soft: 1024, hard: 524_288 }));
        assert_eq!(
            open_files_in(&limits.replace("524288", "unlimited")).map(|limit| limit.hard),
            Some(u64::MAX)
        );
        assert_eq!(open_files_in(""), None);
    }
}
