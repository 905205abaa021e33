//! A node of a test's own: the real daemon in a folder of its own, with a registry, a CNI network and a cgroup name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::FutureExt;
use linkspan_cri_api::v1;

use crate::client::{self, Images, Runtime};
use crate::leftovers;
use crate::network::Network;
use crate::registry::Registry;
use crate::tools;
use crate::wait;

const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// What a test wants to be different.
#[derive(Clone, Debug)]
pub struct Options {
    /// Runtime handlers; the first is the default.
    pub runtimes: Vec<(String, PathBuf)>,
    /// Further lines of the configuration file.
    pub configuration: String,
    /// Further entries of `registries.conf`.
    pub registries: String,
    /// Whether the CNI configuration is there from the start.
    pub network: bool,
    /// Of the daemon, beside the tests' own.
    pub environment: Vec<(&'static str, &'static str)>,
    /// The soft limit of open files that the daemon is started with.
    pub open_files: Option<u64>,
    /// Of the daemon; `None`: the tests' own.
    pub umask: Option<&'static str>,
    /// Where the CNI plugins are; `None`: those that are built for the tests.
    pub cni_bin_dir: Option<PathBuf>,
    /// The name of another node's control group, which then looks after what is left in it; `None`: one of its own.
    pub cgroup: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            runtimes: vec![("crun".to_owned(), tools::crun()), ("runc".to_owned(), tools::runc())],
            configuration: String::new(),
            registries: String::new(),
            network: true,
            environment: Vec::new(),
            open_files: None,
            umask: None,
            cni_bin_dir: None,
            cgroup: None,
        }
    }
}

/// A running daemon and what it uses.
#[derive(Debug)]
pub struct Node {
    pub runtime: Runtime,
    pub images: Images,
    pub network: Network,
    pub registry: Registry,
    options: Options,
    daemon: Option<Child>,
    folder: tempfile::TempDir,
    cgroup: String,
}

/// Runs a test on a node of its own. Whatever happens, the node is cleared away afterwards; anything left of it
/// fails the test.
pub async fn with(options: Options, test: impl AsyncFnOnce(&mut Node) -> Result<()>) {
    let mut node = Node::start(options).await.expect("starting a node");
    let outcome = AssertUnwindSafe(test(&mut node)).catch_unwind().await;
    let log = node.log();
    let cleared = node.finish().await;
    let failure = match (outcome, cleared) {
        (Ok(Ok(())), Ok(())) => return,
        (Ok(Ok(())), Err(left)) => format!("{left:#}"),
        (Ok(Err(error)), _) => format!("{error:#}"),
        (Err(panic), _) => panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "the test panicked".to_owned()),
    };
    panic!("{failure}\n--- the end of the daemon's log ---\n{log}");
}

/// [`with`] the usual options.
pub async fn run(test: impl AsyncFnOnce(&mut Node) -> Result<()>) {
    with(Options::default(), test).await;
}

impl Node {
    pub async fn start(options: Options) -> Result<Node> {
        // Short, since sockets lie deep below it and their paths may have 107 bytes at most.
        let folder = tempfile::Builder::new().prefix("ls").rand_bytes(5).tempdir_in("/tmp")?;
        let prefix = folder.path();
        // As `/run` and `/var` are: users of pods' user namespaces pass through.
        fs::set_permissions(prefix, fs::Permissions::from_mode(0o711))?;
        let containers = prefix.join("etc/containers");
        for path in ["etc/linkspan", "etc/cni/net.d", "tmp", "logs"] {
            fs::create_dir_all(prefix.join(path))?;
        }
        let registry = Registry::start(prefix)?;
        registry.mirror(&containers, &options.registries)?;
        let conf_dir = match options.network {
            true => prefix.join("etc/cni/net.d"),
            false => prefix.join("etc/cni/later"),
        };
        let network = Network::create(&conf_dir, &prefix.join("var/lib/cni"))?;
        let own = format!("{}-{}", network.bridge, std::process::id());
        let cgroup = options.cgroup.clone().unwrap_or(own);
        let configuration = format!(
            "{}\n[cgroup]\nname = \"{cgroup}\"\n[log]\nlevel = \"debug,h2=info,hyper=info,tower=info,tonic=info\"\n",
            options.configuration
        );
        fs::write(prefix.join("etc/linkspan/config.toml"), configuration)?;
        let daemon = spawn(prefix, &options)?;
        let socket = prefix.join("run/linkspan/linkspan.sock");
        let (runtime, images) = match ready(&socket, options.network).await {
            Ok(clients) => clients,
            Err(error) => {
                let log = end_of(&prefix.join("daemon.log"));
                end(daemon)?;
                bail!("{error:#}\n--- the end of the daemon's log ---\n{log}");
            }
        };
        Ok(Node { runtime, images, network, registry, options, daemon: Some(daemon), folder, cgroup })
    }

    /// The folder below which all of it lies.
    pub fn prefix(&self) -> &Path {
        self.folder.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.prefix().join("run/linkspan/linkspan.sock")
    }

    /// `unix://…`, as crictl and the kubelet want it.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Where tests keep pods' logs.
    pub fn logs(&self) -> PathBuf {
        self.prefix().join("logs")
    }

    /// The daemon's own top-level cgroup.
    pub fn cgroup(&self) -> &str {
        &self.cgroup
    }

    pub fn daemon_pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Child::id)
    }

    /// The PID of a pod's monitor.
    pub fn monitor(&self, sandbox_id: &str) -> Result<u32> {
        let processes = leftovers::processes(self.prefix(), &[]);
        let is_its = |process: &&String| process.contains("linkspan-monitor") && process.contains(sandbox_id);
        let monitor = processes.iter().find(is_its);
        let monitor = monitor.with_context(|| format!("no monitor of {sandbox_id} among {processes:?}"))?;
        Ok(monitor.split_once(':').context("its PID")?.0.parse()?)
    }

    /// Another CNI configuration, which the daemon is started anew with; the network's name.
    pub async fn change_network(&mut self, change: impl FnOnce(&mut serde_json::Value)) -> Result<String> {
        let path = self.prefix().join("etc/cni/net.d/10-test.conflist");
        let mut list: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
        change(&mut list);
        fs::write(&path, list.to_string())?;
        self.kill()?;
        self.start_again().await?;
        Ok(list["name"].as_str().unwrap_or_default().to_owned())
    }

    /// A `crictl` command on this node.
    pub fn crictl(&self) -> tokio::process::Command {
        client::crictl(&self.socket())
    }

    /// The end of the daemon's log.
    pub fn log(&self) -> String {
        end_of(&self.prefix().join("daemon.log"))
    }

    /// Of the daemon that is started next, beside the tests' own.
    pub fn set_environment(&mut self, environment: Vec<(&'static str, &'static str)>) {
        self.options.environment = environment;
    }

    /// Whether the daemon, which nobody told to, has ended.
    pub fn has_ended(&mut self) -> Result<()> {
        let daemon = self.daemon.as_mut().context("the daemon was never started")?;
        daemon.try_wait()?.context("the daemon still runs").map(drop)
    }

    /// Kills the daemon as the kernel would: no chance to tidy up.
    pub fn kill(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Ends the daemon in good order; pods run on.
    pub async fn stop(&mut self) -> Result<()> {
        let mut daemon = self.daemon.take().context("the daemon does not run")?;
        signal(daemon.id(), "TERM")?;
        let stopped = wait::until("the daemon ends after SIGTERM", STOP_DEADLINE, async || {
            daemon.try_wait()?.context("it still runs")
        })
        .await;
        if stopped.is_err() {
            end(daemon)?;
        }
        let status = stopped?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// Starts the daemon again after [`Node::kill`] or [`Node::stop`].
    pub async fn start_again(&mut self) -> Result<()> {
        ensure!(self.daemon.is_none(), "the daemon runs already");
        self.daemon = Some(spawn(self.folder.path(), &self.options)?);
        (self.runtime, self.images) = ready(&self.socket(), self.options.network).await?;
        Ok(())
    }

    /// Removes all pods, ends the daemon and makes sure that nothing is left; clears away what is.
    pub async fn finish(mut self) -> Result<()> {
        let mut complaints = Vec::new();
        if self.daemon.is_none()
            && let Err(error) = self.start_again().await
        {
            complaints.push(format!("starting the daemon to clear up: {error:#}"));
        }
        if self.daemon.is_some() {
            if let Err(error) = self.remove_pods().await {
                complaints.push(format!("{error:#}"));
            }
            if let Err(error) = self.stop().await {
                complaints.push(format!("{error:#}"));
            }
        }
        let left = wait::until("nothing is left", Duration::from_secs(20), async || {
            let left = self.leftovers();
            ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
            Ok(())
        })
        .await;
        if let Err(left) = left {
            complaints.push(format!("{left:#}"));
        }
        self.sweep();
        ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
        Ok(())
    }

    /// Removes every sandbox that the daemon lists.
    pub async fn remove_pods(&mut self) -> Result<()> {
        let list = self.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner();
        for sandbox in list.items {
            let id = sandbox.id.clone();
            let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.clone() };
            self.runtime.stop_pod_sandbox(request).await.with_context(|| format!("stopping sandbox {id}"))?;
            let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.clone() };
            self.runtime
                .remove_pod_sandbox(request)
                .await
                .with_context(|| format!("removing sandbox {id}"))?;
        }
        Ok(())
    }

    /// What pods have left on this machine. To be asked when none is there any more.
    pub fn leftovers(&self) -> Vec<String> {
        let prefix = self.prefix();
        let mut left = Vec::new();
        let mut note = |what: &str, found: Vec<String>| {
            left.extend(found.into_iter().map(|found| format!("{what}: {found}")));
        };
        note("mount", leftovers::mounts(prefix));
        let ours: Vec<u32> = self.daemon_pid().into_iter().chain([self.registry.pid()]).collect();
        note("process", leftovers::processes(prefix, &ours));
        let groups = leftovers::cgroups(&self.cgroup).into_iter().filter(|_| self.options.cgroup.is_none());
        // While the daemon runs, its own groups may stay.
        let own = [PathBuf::from(&self.cgroup), Path::new(&self.cgroup).join("monitors")];
        let groups =
            groups.filter(|path| self.daemon.is_none() || !own.iter().any(|own| path.ends_with(own)));
        note("cgroup", groups.map(|path| path.display().to_string()).collect());
        note("port of the bridge", self.network.ports());
        note("CNI address", self.network.addresses().unwrap_or_default());
        note("file", leftovers::of_pods(prefix));
        note("temporary file", leftovers::entries(&[prefix.join("tmp")]));
        left
    }

    /// Takes away by force what a failed test has left, so that the next one starts on a clean machine.
    fn sweep(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            let _ = end(daemon);
        }
        let cgroup = Some(self.cgroup.as_str()).filter(|_| self.options.cgroup.is_none());
        leftovers::sweep(self.folder.path(), cgroup, &[self.registry.pid()]);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.sweep();
    }
}

fn spawn(prefix: &Path, options: &Options) -> Result<Child> {
    let log = fs::File::options().create(true).append(true).open(prefix.join("daemon.log"))?;
    let limits = [
        options.open_files.map(|most| format!("ulimit -Sn {most}")),
        options.umask.map(|umask| format!("umask {umask}")),
    ];
    let limits: Vec<String> = limits.into_iter().flatten().collect();
    let mut command = match limits.is_empty() {
        true => Command::new(tools::daemon()),
        false => {
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &format!("{} && exec \"$0\" \"$@\"", limits.join(" && "))])
                .arg(tools::daemon());
            shell
        }
    };
    command.args(["serve", "--prefix"]).arg(prefix);
    for (name, path) in &options.runtimes {
        command.arg("--runtime").arg(format!("{name}={}", path.display()));
    }
    command
        .arg("--cni-bin-dir")
        .arg(options.cni_bin_dir.clone().unwrap_or_else(tools::cni_plugins))
        .env("TMPDIR", prefix.join("tmp"))
        .env("RUST_BACKTRACE", "1")
        .envs(options.environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().with_context(|| format!("starting {:?}", command))
}

async fn ready(socket: &Path, network: bool) -> Result<(Runtime, Images)> {
    wait::until("the daemon is ready", START_DEADLINE, async || {
        let (mut runtime, images) = client::connect(socket).await?;
        let status = runtime.status(v1::StatusRequest::default()).await?.into_inner();
        for condition in status.status.context("a status")?.conditions {
            let wanted = condition.r#type == "RuntimeReady" || network;
            ensure!(condition.status || !wanted, "{}: {}", condition.r#type, condition.message);
        }
        Ok((runtime, images))
    })
    .await
}

fn end(mut daemon: Child) -> Result<()> {
    daemon.kill()?;
    daemon.wait()?;
    Ok(())
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
    ensure!(status.success(), "signalling {pid}");
    Ok(())
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}
