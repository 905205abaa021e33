//! A node of a test's own: directories, cgroup and names that no other test shares.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use linkspan_config::{
    Cgroup, CgroupDriver, Config, Container, Grpc, Handler, Image, Log, LogFormat, Metrics, Network, Runtime,
};
use linkspan_image::Images;
use linkspan_pod_sandbox::model::{
    ContainerConfig, ContainerFilter, ContainerId, ContainerState, ContainerStatus, NamespaceMode,
    SandboxConfig, SandboxFilter, SandboxId,
};
use linkspan_pod_sandbox::{Parts, Pods, network};
use tempfile::TempDir;

use crate::image;

/// Ample for a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const CAPABILITIES: [&str; 8] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
];

pub(crate) struct Node {
    pub(crate) dir: TempDir,
    pub(crate) config: Arc<Config>,
    pub(crate) pods: Pods,
    pub(crate) images: Images,
    network: network::Network,
}

/// Says what is missing and ends the test.
macro_rules! node {
    () => {
        match crate::node::Node::start().await {
            Ok(node) => node,
            Err(missing) => {
                eprintln!("SKIP: {missing}");
                return;
            }
        }
    };
}
pub(crate) use node;

impl Node {
    /// # Errors
    /// What the machine lacks.
    pub(crate) async fn start() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        let busybox = image::busybox().ok_or("needs a static busybox")?;
        let runtime = runtime().ok_or("needs runc, or LINKSPAN_TEST_RUNTIME")?;
        let monitor = monitor().ok_or("needs linkspan-monitor: cargo build -p linkspan-monitor")?;
        let dir = tempfile::Builder::new().prefix("linkspan-e2e-").tempdir_in("/var/tmp").unwrap();
        let config = Arc::new(config(dir.path(), runtime, monitor));
        let (pods, images, network) = open(&config).await;
        let layout = dir.path().join("layout");
        image::write_layout(&layout, &busybox);
        images.load(&layout, None).await.unwrap();
        Ok(Self { dir, config, pods, images, network })
    }

    /// As if the daemon was killed and started again: what it had in memory is gone.
    pub(crate) async fn restart(&mut self) {
        self.pods.shutdown().await;
        (self.pods, self.images, self.network) = open(&self.config).await;
    }

    /// As long as the pods live without a daemon.
    pub(crate) async fn without_daemon(&mut self, meanwhile: impl AsyncFnOnce()) {
        self.pods.shutdown().await;
        meanwhile().await;
        (self.pods, self.images, self.network) = open(&self.config).await;
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// A pod on the host's network: nothing of CNI is needed.
    pub(crate) fn sandbox_config(&self, name: &str) -> SandboxConfig {
        let mut config =
            SandboxConfig { log_directory: self.log_dir().display().to_string(), ..SandboxConfig::default() };
        config.metadata.name = name.to_owned();
        config.metadata.namespace = "default".to_owned();
        config.metadata.uid = format!("uid-{name}");
        config.linux.security_context.namespace_options.network = NamespaceMode::Node;
        config
    }

    pub(crate) async fn sandbox(&self, name: &str) -> SandboxId {
        self.pods.run_sandbox(self.sandbox_config(name), "").await.unwrap()
    }

    /// A container of the pod made by [`Node::sandbox_config`] that runs a shell script.
    pub(crate) fn container_config(&self, name: &str, script: &str) -> ContainerConfig {
        let mut config = ContainerConfig {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: format!("{name}.log"),
            ..ContainerConfig::default()
        };
        config.metadata.name = name.to_owned();
        config.image.image = image::NAME.to_owned();
        config.linux.security_context.namespace_options.network = NamespaceMode::Node;
        config.linux.security_context.namespace_options.pid = NamespaceMode::Container;
        config
    }

    /// Created and started.
    pub(crate) async fn running(&self, sandbox: &SandboxId, name: &str, script: &str) -> ContainerId {
        self.started(sandbox, self.container_config(name, script)).await
    }

    pub(crate) async fn started(&self, sandbox: &SandboxId, config: ContainerConfig) -> ContainerId {
        let id = self.pods.create_container(sandbox.as_str(), config).await.unwrap();
        self.pods.start_container(id.as_str()).await.unwrap();
        id
    }

    /// Standard output of a command in the container; it must succeed.
    pub(crate) async fn exec(&self, id: &ContainerId, script: &str) -> String {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let output = self.pods.exec_sync(id.as_str(), command, Some(PATIENCE)).await.unwrap();
        assert_eq!(output.exit_code, 0, "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub(crate) fn status(&self, id: &ContainerId) -> ContainerStatus {
        self.pods.container_status(id.as_str()).unwrap()
    }

    pub(crate) async fn exited(&self, id: &ContainerId) -> ContainerStatus {
        self.wait_for("an exit", || {
            let status = self.status(id);
            (status.state == ContainerState::Exited).then_some(status)
        })
        .await
    }

    /// Waits until the daemon has collected one that nobody owned, and nothing is being undone.
    pub(crate) async fn collected(&self, kind: &str) {
        let wait = async {
            while !self.pods.collected().contains_key(kind) || !self.pods.operations().is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let told = || format!("no {kind} among {:?}, or {:?}", self.pods.collected(), self.pods.operations());
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("{}", told()));
    }

    /// Waits until events have brought about what `found` looks for.
    pub(crate) async fn wait_for<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let mut events = self.pods.subscribe();
        let wait = async {
            loop {
                if let Some(found) = found() {
                    return found;
                }
                events.recv().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what} did not come"))
    }

    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_dir().join(format!("{name}.log"))).unwrap()
    }

    /// Removes every pod and looks for what is left.
    pub(crate) async fn end(self) {
        for sandbox in self.pods.list_sandboxes(&SandboxFilter::default()) {
            self.pods.stop_sandbox(sandbox.id.as_str(), Some(PATIENCE)).await.unwrap();
            self.pods.remove_sandbox(sandbox.id.as_str()).await.unwrap();
        }
        assert_eq!(self.pods.list_containers(&ContainerFilter::default()), []);
        self.pods.shutdown().await;
        self.network.shutdown().await.unwrap();
        self.assert_nothing_left().await;
    }

    async fn assert_nothing_left(&self) {
        let root = self.dir.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(root)).collect();
        assert!(left.is_empty(), "mounts left: {left:#?}");
        for dir in ["run/pods", "root/state/sandboxes", "root/state/containers", "root/volumes"] {
            assert_eq!(entries(&self.dir.path().join(dir)), [""; 0], "{dir}");
        }
        assert_eq!(self.images.rootfs_keys().unwrap(), [""; 0]);
        let group = &self.config.cgroup.name;
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let dir = hierarchy.path().join(group);
            let groups: Vec<String> =
                entries(&dir).into_iter().filter(|name| dir.join(name).is_dir()).collect();
            assert!(groups.iter().all(|name| name == "monitors"), "{}: {groups:?}", dir.display());
        }
        assert_eq!(processes(root), [""; 0], "processes left");
        let bridge = &self.config.network.builtin_bridge;
        assert!(!Path::new("/sys/class/net").join(bridge).exists(), "bridge {bridge} left");
        let cgroups = linkspan_runtime_oci::Cgroups::detect(&self.config.cgroup).unwrap();
        cgroups.remove(&format!("/{group}")).await.unwrap();
    }
}

/// Command lines that mention `text`, but not ours.
fn processes(text: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let others =
        entries(Path::new("/proc")).into_iter().filter(|name| name.parse::<u32>().is_ok() && *name != own);
    let lines = others.filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok());
    lines.filter(|line| line.contains(text)).collect()
}

fn entries(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

async fn open(config: &Arc<Config>) -> (Pods, Images, network::Network) {
    let images = Images::open(&config.image, &config.root_dir.join("images"), &config.run_dir).await.unwrap();
    let network = network::Network::open_for(&config.network, &config.root_dir).await.unwrap();
    let parts =
        Parts { config: Arc::clone(config), images: images.clone(), network: network.clone(), plugins: None };
    (Pods::open(parts).await.unwrap(), images, network)
}

fn runtime() -> Option<PathBuf> {
    let chosen = std::env::var_os("LINKSPAN_TEST_RUNTIME").map(PathBuf::from);
    chosen
        .into_iter()
        .chain(["/usr/bin/runc", "/usr/sbin/runc"].map(PathBuf::from))
        .find(|path| path.exists())
}

fn monitor() -> Option<PathBuf> {
    // target/debug/deps/e2e-…: binaries are one level up.
    let exe = std::env::current_exe().ok()?;
    let built = exe.parent()?.parent()?.join("linkspan-monitor");
    let chosen = std::env::var_os("LINKSPAN_TEST_MONITOR").map(PathBuf::from);
    chosen.into_iter().chain([built]).find(|path| path.exists())
}

fn config(dir: &Path, runtime: PathBuf, monitor: PathBuf) -> Config {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{}-{number}", std::process::id());
    let name = runtime.file_name().unwrap().to_string_lossy().into_owned();
    let place = linkspan_config::Place::below(dir);
    let sources = linkspan_config::Sources { place, ..linkspan_config::Sources::default() };
    let defaults = linkspan_config::load(&sources).unwrap().config;
    Config {
        root_dir: dir.join("root"),
        run_dir: dir.join("run"),
        streaming: linkspan_config::Streaming {
            address: std::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            tls_cert_file: None,
            tls_key_file: None,
            tls_client_ca_file: None,
            tls_min_version: linkspan_config::TlsVersion::Tls12,
            idle_timeout: PATIENCE,
        },
        grpc: Grpc { socket: dir.join("sock"), socket_group: None, max_message_bytes: 1 << 20 },
        cgroup: Cgroup { driver: CgroupDriver::Cgroupfs, name: format!("linkspan-e2e-{unique}") },
        runtime: Runtime {
            default: name.clone(),
            handlers: BTreeMap::from([(name, Handler::new(runtime))]),
            monitor: Some(monitor),
            timeout: PATIENCE,
            ..defaults.runtime
        },
        network: Network {
            conf_dir: dir.join("cni"),
            bin_dirs: vec![dir.join("bin")],
            cache_dir: dir.join("cni-cache"),
            builtin: true,
            builtin_bridge: format!("e2e{}", unique.replace('-', "n")),
            builtin_subnets: vec![format!("10.{}.{}.0/24", 200 + std::process::id() % 50, number)],
            builtin_dir: dir.join("builtin"),
            add_timeout: PATIENCE,
            del_timeout: PATIENCE,
        },
        image: Image {
            containers_dir: dir.join("containers"),
            certs_dirs: Vec::new(),
            auth_file: None,
            mirror_credentials: false,
            max_parallel_layers: 2,
            progress_timeout: PATIENCE,
            pinned: Vec::new(),
            max_layer_bytes: 1 << 32,
            max_layer_entries: 1 << 20,
        },
        container: Container {
            default_capabilities: CAPABILITIES.map(str::to_owned).to_vec(),
            default_sysctls: BTreeMap::new(),
            max_exec_sync_bytes: 16 << 20,
            ..defaults.container
        },
        metrics: Metrics { listen: None },
        nri: linkspan_config::Nri {
            enable: false,
            socket: dir.join("nri.sock"),
            disable_connections: true,
            plugin_dir: dir.join("nri"),
            plugin_config_dir: dir.join("nri"),
            plugin_registration_timeout: PATIENCE,
            plugin_request_timeout: PATIENCE,
            required_plugins: Vec::new(),
            tolerate_missing_plugins_annotation: String::new(),
        },
        log: Log { level: "info".to_owned(), format: LogFormat::Text },
    }
}
