//! The checked configuration as the other crates see it: plain data.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The whole configuration, every value present and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Persistent state and images, `/var/lib/linkspan`.
    pub root_dir: PathBuf,
    /// What a reboot may take: sockets, bundles, namespaces, exit records; `/run/linkspan`.
    pub run_dir: PathBuf,
    pub grpc: Grpc,
    pub cgroup: Cgroup,
    pub runtime: Runtime,
    pub network: Network,
    pub image: Image,
    pub container: Container,
    pub metrics: Metrics,
    pub log: Log,
}

/// The CRI socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Grpc {
    /// Unix socket, mode 0660.
    pub socket: PathBuf,
    /// Group that may use the socket; the daemon's own when `None`.
    pub socket_group: Option<String>,
    /// Largest message in either direction.
    pub max_message_bytes: usize,
}

/// How container cgroups are named and made.
#[derive(Clone, Debug, PartialEq)]
pub struct Cgroup {
    pub driver: CgroupDriver,
    /// Our own top-level group (no slashes): monitors, and pods without a `cgroup_parent`.
    pub name: String,
}

/// CRI `CgroupDriver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    #[default]
    Cgroupfs,
    Systemd,
}

/// OCI runtimes and the monitor.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// Handler for pods that name none; a key of `handlers`.
    pub default: String,
    pub handlers: BTreeMap<String, Handler>,
    /// `linkspan-monitor`; beside the daemon's own binary when `None`.
    pub monitor: Option<PathBuf>,
    /// Longest that a runtime's `create`, `start`, `delete` or `update` may take.
    pub timeout: Duration,
}

/// One runtime handler (CRI `runtime_handler`, Kubernetes RuntimeClass).
#[derive(Clone, Debug, PartialEq)]
pub struct Handler {
    /// The OCI runtime's binary, absolute.
    pub path: PathBuf,
    pub sandbox: SandboxKind,
}

/// How a handler's sandboxes are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// Our own pause process holds the namespaces.
    #[default]
    Native,
    /// The first container goes through the runtime with the sandbox annotations.
    Oci,
}

/// CNI, or the built-in network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// CNI configuration lists, `/etc/cni/net.d`.
    pub conf_dir: PathBuf,
    /// Where plugin binaries are looked up, in order.
    pub bin_dirs: Vec<PathBuf>,
    /// Cached results in libcni's format, `/var/lib/cni` has `results/` below it.
    pub cache_dir: PathBuf,
    /// Use the built-in bridge network instead of CNI.
    pub builtin: bool,
    /// Bridge of the built-in network; at most 15 bytes.
    pub builtin_bridge: String,
    /// Pod subnets of the built-in network in CIDR form: one IPv4, optionally one IPv6.
    pub builtin_subnets: Vec<String>,
    /// Allocated addresses of the built-in network.
    pub builtin_dir: PathBuf,
    /// Longest that CNI ADD of a whole list may take, the wait for a configuration included.
    pub add_timeout: Duration,
    /// Longest that CNI DEL (and CHECK, GC, STATUS) of a whole list may take.
    pub del_timeout: Duration,
}

/// Pulls and image storage.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// `registries.conf(.d)`, `certs.d`, `auth.json` live here: `/etc/containers`.
    pub containers_dir: PathBuf,
    /// Further `certs.d` directories with `<host>/hosts.toml`.
    pub certs_dirs: Vec<PathBuf>,
    /// Credentials in `auth.json` form used when the pull brings none.
    pub auth_file: Option<PathBuf>,
    /// Layers fetched and unpacked at the same time, all pulls together.
    pub max_parallel_layers: usize,
    /// A pull that receives no byte for so long is given up.
    pub progress_timeout: Duration,
    /// Images never collected: exact names or a trailing `*`.
    pub pinned: Vec<String>,
    /// Largest unpacked layer.
    pub max_layer_bytes: u64,
    /// Most entries of one layer.
    pub max_layer_entries: u64,
}

/// Defaults of every container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Capabilities of a container that asks for none, with the `CAP_` prefix.
    pub default_capabilities: Vec<String>,
    /// Sysctls of every pod that does not set them itself.
    pub default_sysctls: BTreeMap<String, String>,
    /// Seccomp profile for `RuntimeDefault`; the embedded one when `None`.
    pub seccomp_profile: Option<PathBuf>,
    /// Log lines longer than this are split with the tag `P`.
    pub max_log_line_bytes: usize,
    /// stdout and stderr of one ExecSync together.
    pub max_exec_sync_bytes: usize,
}

/// Prometheus endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Metrics {
    /// `None`: no endpoint.
    pub listen: Option<SocketAddr>,
}

/// The daemon's own log, on stderr.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `tracing` filter directives, for example `info` or `info,linkspan_image=debug`.
    pub level: String,
    pub format: LogFormat,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}
