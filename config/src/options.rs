//! Every option of Linkspan, once: name, type, documentation, default, check.
//!
//! To add one, add its lines here; files, environment, flags, the sample and `config show` follow.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use toml::Value;

use crate::define::{Definition, definition, options};
use crate::value::container::{DeviceDefault, EnvDefault, MountDefault, Ulimit};
use crate::value::{CgroupDriver, Handler, LogFormat, OptionValue, TlsVersion, check};

options! {
    Config {
    /// Persistent state and images. For root alone (0700), set at each start unless other things are in it.
    root_dir: PathBuf = |at| at.join("/var/lib/linkspan"), check::absolute;
    /// What a reboot may take: socket, bundles, namespaces, exit records. Others may pass (0711), set likewise.
    run_dir: PathBuf = |at| at.join("/run/linkspan"), check::absolute;
    }

    /// The CRI socket.
    [grpc] Grpc {
        /// Unix socket of the CRI services, mode 0660.
        socket: PathBuf = |at| at.join("/run/linkspan/linkspan.sock"), check::absolute;
        /// Group that may use the socket, by name or number; empty: the daemon's own group.
        socket_group: Option<String> = |_| None, check::any;
        /// Largest message in either direction, in bytes.
        max_message_bytes: usize = |_| 16 * 1024 * 1024, check::at_least::<{ 64 * 1024 }>;
    }

    /// How cgroups are named and made.
    [cgroup] Cgroup {
        /// Cgroup driver: only `cgroupfs` is built yet; it must agree with the kubelet's.
        driver: CgroupDriver = |_| CgroupDriver::Cgroupfs, check::cgroup_driver;
        /// Our own top-level group: monitors, and pods that come without a cgroup parent.
        name: String = |at| at.tag("linkspan"), check::file_name;
    }

    /// OCI runtimes and the monitor.
    [runtime] Runtime {
        /// Handler of pods that name none; empty: the first one given, or else the first one found of crun, runc, youki.
        default: String = |_| String::new(), check::any;
        /// Runtime handlers by name, each a table with `path` (absolute) and `sandbox` (`native` or `oci`);
        /// empty: those of crun, runc and youki that the host has. Further keys of a handler: `default_annotations` (a
        /// table), `allowed_annotations` (patterns of annotations that pods may steer the runtime by, such as `run.oci.*`,
        /// which are kept from it otherwise),
        /// `privileged_without_host_devices`, `base_spec` (an OCI spec in JSON, laid under each container's own),
        /// `cgroup_writable` (cgroup v2 only).
        handlers: BTreeMap<String, Handler> = |_| BTreeMap::new(), check::handlers;
        /// The `linkspan-monitor` binary; empty: the one beside the daemon's own.
        monitor: Option<PathBuf> = |_| None, check::absolute_if_set;
        /// Directories of OCI hooks (`oci-hooks.5`, schema 1.0.0); a file in a later one replaces its namesake in an earlier.
        hooks_dirs: Vec<PathBuf> = |at| vec![
            at.join("/usr/share/containers/oci/hooks.d"),
            at.join("/etc/containers/oci/hooks.d"),
        ], check::all_absolute;
        /// Longest that a runtime's `create`, `start`, `update` or `delete` may take.
        timeout: Duration = |_| Duration::from_secs(120), check::positive;
        /// The `criu` binary, by which runtimes checkpoint and restore; empty: the one found in the usual directories.
        criu: Option<PathBuf> = |_| None, check::absolute_if_set;
        /// Whether a container's image may be a checkpoint: an archive by its absolute path, or an OCI image made of
        /// one. Restored processes bring their privileges along, whatever the pod was granted: only for nodes where
        /// nobody but the administrator chooses images.
        restore_from_image: bool = |_| false, check::any;
    }

    /// Pod network: CNI, or the built-in bridge.
    [network] Network {
        /// CNI configuration; the first valid file in lexical order is used.
        conf_dir: PathBuf = |at| at.join("/etc/cni/net.d"), check::absolute;
        /// Where CNI plugins are looked up, in order.
        bin_dirs: Vec<PathBuf> = |_| vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()], check::all_absolute;
        /// Cached CNI results, in libcni's format, are in `results` below it.
        cache_dir: PathBuf = |at| at.join("/var/lib/cni"), check::absolute;
        /// Use the built-in bridge network: no CNI configuration or plugin is needed then.
        builtin: bool = |_| false, check::any;
        /// Bridge of the built-in network.
        builtin_bridge: String = |at| at.tag("lspan"), check::interface_name;
        /// Pod subnets of the built-in network: one of IPv4, at most one of IPv6.
        builtin_subnets: Vec<String> = |_| vec!["10.88.0.0/16".into()], check::subnets;
        /// Addresses that the built-in network has given out.
        builtin_dir: PathBuf = |at| at.join("/run/linkspan/network"), check::absolute;
        /// Longest that setting up a pod's network may take, the wait for a configuration included.
        add_timeout: Duration = |_| Duration::from_secs(120), check::positive;
        /// Longest that taking down, checking or collecting networks may take.
        del_timeout: Duration = |_| Duration::from_secs(60), check::positive;
    }

    /// Pulls and image storage.
    [image] Image {
        /// `registries.conf(.d)`, `certs.d` and `auth.json` are read from here.
        containers_dir: PathBuf = |at| at.join("/etc/containers"), check::absolute;
        /// Further directories with `<host>/hosts.toml`.
        certs_dirs: Vec<PathBuf> = |_| Vec::new(), check::all_absolute;
        /// Credentials in `auth.json` form for pulls that bring none; empty: `auth.json` of `containers_dir`.
        auth_file: Option<PathBuf> = |_| None, check::absolute_if_set;
        /// Whether mirrors that ask for credentials get those that a pull brings for the registry itself: only for nodes
        /// whose mirrors are as trusted as every registry before which they stand. Over TLS only, and never registry
        /// tokens. A mirror with an entry of its own in `auth_file` gets that, whatever is said here.
        mirror_credentials: bool = |_| false, check::any;
        /// Layers fetched and unpacked at the same time, all pulls together.
        max_parallel_layers: usize = |_| 4, check::at_least::<1>;
        /// A pull that receives nothing for so long is given up.
        progress_timeout: Duration = |_| Duration::from_secs(60), check::positive;
        /// Images that the kubelet shall never collect: names, or beginnings of names with a trailing `*`.
        pinned: Vec<String> = |_| Vec::new(), check::any;
        /// Largest layer, unpacked, in bytes.
        max_layer_bytes: u64 = |_| 64 << 30, check::any;
        /// Most entries of one layer.
        max_layer_entries: u64 = |_| 5_000_000, check::any;
    }

    /// Defaults of every container.
    [container] Container {
        /// Capabilities of a container that asks for no others.
        default_capabilities: Vec<String> = |_| {
            ["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP",
                "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"]
                .iter()
                .map(|name| format!("CAP_{name}"))
                .collect()
        }, check::capabilities;
        /// Sysctls of every pod that does not set them itself.
        default_sysctls: BTreeMap<String, String> = |_| BTreeMap::new(), check::any;
        /// Limits of every container's processes, such as `nofile=1024:4096`; what is not named is the daemon's own.
        default_ulimits: Vec<Ulimit> = |_| Vec::new(), check::any;
        /// Variables of every container, `NAME=value`; image and pod go before.
        default_env: Vec<EnvDefault> = |_| Vec::new(), check::any;
        /// Mounts of every container that mounts nothing there itself, `/host/path:/container/path` with `:ro` or not.
        default_mounts: Vec<MountDefault> = |_| Vec::new(), check::any;
        /// Devices of every container, `/dev/fuse` or `/dev/fuse:/dev/other:rwm`; one that the host lacks refuses containers.
        default_devices: Vec<DeviceDefault> = |_| Vec::new(), check::any;
        /// Devices that a container asks for belong to its `run_as_user` and `run_as_group`, instead of as on the host.
        device_ownership_from_security_context: bool = |_| false, check::any;
        /// Directories of CDI files (`*.json`, `*.yaml`); a device in a later one replaces its namesake in an earlier.
        cdi_spec_dirs: Vec<PathBuf> = |at| vec![at.join("/etc/cdi"), at.join("/var/run/cdi")], check::all_absolute;
        /// Seccomp profile of `RuntimeDefault`; empty: the embedded one.
        seccomp_profile: Option<PathBuf> = |_| None, check::absolute_if_set;
        /// Longer log lines are split, all parts but the last tagged `P`, in bytes.
        max_log_line_bytes: usize = |_| 16 * 1024, check::at_least::<1>;
        /// Output of one ExecSync, stdout and stderr together, in bytes; the rest is dropped. The default leaves room
        /// for the answer's own fields in a message of 16 MiB, the most that a kubelet takes.
        max_exec_sync_bytes: usize = |_| 16 * 1024 * 1024 - 1024, check::at_least::<1>;
    }

    /// The server that exec, attach and port-forward are streamed over. An RPC answers a URL on it that can be opened once.
    [streaming] Streaming {
        /// IP address to listen on; it stands in the URLs. `0.0.0.0` or `::` listens on all, and the URLs then name
        /// the loopback address, which is where the kubelet is.
        address: IpAddr = |_| Ipv4Addr::LOCALHOST.into(), check::any;
        /// TCP port; 0: any free one.
        port: u16 = |_| 0, check::any;
        /// Certificate chain in PEM, the server's own first; empty: no TLS. It is read anew whenever a file of the three changes.
        tls_cert_file: Option<PathBuf> = |_| None, check::absolute_if_set;
        /// Private key of the certificate, in PEM.
        tls_key_file: Option<PathBuf> = |_| None, check::absolute_if_set;
        /// Authorities, in PEM, one of which must have signed a certificate that the client presents; empty: clients need none.
        tls_client_ca_file: Option<PathBuf> = |_| None, check::absolute_if_set;
        /// Oldest TLS that a client may speak: `1.2` or `1.3`.
        tls_min_version: TlsVersion = |_| TlsVersion::Tls12, check::any;
        /// A session in which no byte moves for so long is ended.
        idle_timeout: Duration = |_| Duration::from_secs(4 * 60 * 60), check::positive;
    }

    /// Prometheus metrics.
    [metrics] Metrics {
        /// Address of the HTTP endpoint, `127.0.0.1:9090` for example; empty: none.
        listen: Option<SocketAddr> = |_| None, check::any;
    }

    /// Plugins of the Node Resource Interface: they hear of pods and containers, and change what containers are made of.
    [nri] Nri {
        /// Start plugins and let them connect.
        enable: bool = |_| true, check::any;
        /// Unix socket that plugins connect to, mode 0600.
        socket: PathBuf = |at| at.join("/var/run/nri/nri.sock"), check::absolute;
        /// Accept no connections: only plugins of `plugin_dir` take part.
        disable_connections: bool = |_| false, check::any;
        /// Plugins to start with the daemon: programs named by index and name, `10-example`.
        plugin_dir: PathBuf = |at| at.join("/opt/nri/plugins"), check::absolute;
        /// Their configuration, handed over as it is: `10-example.conf`, or else `example.conf`.
        plugin_config_dir: PathBuf = |at| at.join("/etc/nri/conf.d"), check::absolute;
        /// A plugin that has not registered so long after it connected is disconnected.
        plugin_registration_timeout: Duration = |_| Duration::from_secs(5), check::positive;
        /// A plugin that has not answered a call within this time is disconnected.
        plugin_request_timeout: Duration = |_| Duration::from_secs(2), check::positive;
        /// Plugins, by name or by index and name, without which no container is created. A pod asks for more of them by
        /// the annotation `required-plugins.noderesource.dev`, a list.
        required_plugins: Vec<String> = |_| Vec::new(), check::any;
        /// Annotation by which a pod (or `KEY/container.NAME`, a container of it) is created nevertheless, if its value is
        /// `true`; empty: none. Pods of plugins themselves need it.
        tolerate_missing_plugins_annotation: String = |_| String::new(), check::any;
    }

    /// The daemon's own log, on standard error.
    [log] Log {
        /// `error`, `warn`, `info`, `debug`, `trace`, or filter directives such as `info,linkspan_image=debug`.
        level: String = |_| "info".into(), check::not_empty;
        /// `text` or `json`.
        format: LogFormat = |_| LogFormat::Text, check::any;
    }
}

/// All options, in the order of the sample.
pub fn definitions() -> &'static [Definition] {
    DEFINITIONS
}

fn read<T: OptionValue>(values: &BTreeMap<&'static str, Value>, key: &'static str) -> Result<T, String> {
    let value = values.get(key).ok_or_else(|| format!("{key}: no value"))?;
    T::from_toml(value).map_err(|reason| format!("{key}: {reason}"))
}
