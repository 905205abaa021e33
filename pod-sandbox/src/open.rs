//! From the configuration to [`Pods`], recovered and ready for requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkspan_config::Config;
use linkspan_runtime_oci::spec::clamp_oom_score_adj;
use linkspan_runtime_oci::{Cgroups, Features};
use tokio::sync::Semaphore;

use crate::collect;
use crate::error::Error;
use crate::events::Event;
use crate::handler::{Handler, HandlerOptions};
use crate::host::Host;
use crate::host_files::HostFiles;
use crate::layout::Layout;
use crate::model::HandlerStatus;
use crate::own_cgroups;
use crate::own_files::make_dir;
use crate::plugins::Nobody;
use crate::pods::{Inner, Parts, Pods, Settings};
use crate::records::Records;
use crate::selinux::Levels;
use crate::table::blocking;
use crate::{recovery, runtimes, unfinished, user_namespace};

/// Beside the daemon's binary, unless the configuration says where.
const MONITOR: &str = "linkspan-monitor";
/// Nothing but the kernel's own is less likely to be killed for want of memory: it is the pod's memory of exits.
const MONITOR_OOM_SCORE_ADJ: i64 = -999;
/// How long the start waits for handlers to say what they can do, all together: the first Status is to have it of those
/// that work.
const FIRST_ANSWERS: Duration = Duration::from_secs(3);

impl Pods {
    /// Opens the state below the configured directories and recovers what an earlier daemon left: running containers
    /// are adopted, exits that happened meanwhile recorded, half-made things removed.
    ///
    /// # Errors
    /// [`Error::Store`] for directories that cannot be made or read, [`Error::Runtime`] for a host without cgroups or a
    /// handler's bad `base_spec`.
    pub async fn open(parts: Parts) -> Result<Self, Error> {
        let config = Arc::clone(&parts.config);
        let layout = Layout::new(&config.root_dir, &config.run_dir);
        let cgroups = Cgroups::detect(&config.cgroup)?;
        let host = Host::read(cgroups.mode(), &parts.images).await?;
        let dirs = layout.clone();
        let records = blocking("opening the records", move || {
            for (dir, access) in dirs.directories() {
                make_dir(&dir, access)?;
            }
            Records::open(&dirs.state_dir())
        })
        .await?;
        let (table, found) = recovery::load(records).await?;
        let inner = Arc::new(Inner {
            settings: settings(&config)?,
            handlers: handlers(&config, &layout)?,
            former_runtimes: runtimes::former(&config, &layout, &found.sandboxes),
            images: parts.images,
            network: parts.network,
            cgroups,
            host,
            // Another daemon, or another engine, begins elsewhere.
            selinux_levels: Levels::starting_at(std::process::id()),
            layout,
            host_files: HostFiles::new(&table),
            table,
            creating_sandboxes: Arc::default(),
            creating_containers: Arc::default(),
            plugins: parts.plugins.unwrap_or_else(|| Arc::new(Nobody)),
            tasks: Default::default(),
            collected: Default::default(),
            operations: Default::default(),
            turns_to_undo: Semaphore::new(unfinished::AT_A_TIME),
            closing: Default::default(),
        });
        own_cgroups::open(&inner).await?;
        let asked = ask_handlers(&inner);
        recovery::run(&inner, found).await?;
        collect::keep_going(&inner);
        let _ = tokio::time::timeout(FIRST_ANSWERS, asked).await;
        Ok(Self { inner })
    }

    /// All handlers and what is known of them, at once, the default one first, under the empty name too: RuntimeClass
    /// features of pods without one are looked up there.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerStatus> {
        let mut found = Vec::new();
        for (name, handler) in &self.inner.handlers {
            let features = handler.runtime.known_features();
            let known = features.as_ref().ok();
            let obstacle = known.map(|known| user_namespace::obstacle(&self.inner, handler, known));
            let status = HandlerStatus {
                name: name.clone(),
                recursive_read_only_mounts: known.is_some_and(Features::recursive_read_only),
                user_namespaces: obstacle.is_some_and(|obstacle| obstacle.is_none()),
                path: handler.path.clone(),
                error: features.err().map(|error| error.to_string()),
            };
            if *name == self.inner.settings.default_handler {
                found.insert(0, HandlerStatus { name: String::new(), ..status.clone() });
            }
            found.push(status);
        }
        found
    }

    /// Changes from now on, each told after it is on disk and visible to reads.
    #[must_use]
    pub fn subscribe(&self) -> tokio::sync::broadcast::Receiver<Event> {
        self.inner.table.subscribe()
    }
}

impl Inner {
    pub(crate) fn monitor_oom_score_adj(&self) -> i32 {
        clamp_oom_score_adj(MONITOR_OOM_SCORE_ADJ, self.host.oom_score_adj_floor)
    }
}

fn settings(config: &Config) -> Result<Settings, Error> {
    Ok(Settings {
        default_handler: config.runtime.default.clone(),
        cgroup_name: config.cgroup.name.clone(),
        monitor: monitor(config.runtime.monitor.as_deref())?,
        runtime_timeout: config.runtime.timeout,
        criu: config.runtime.criu.clone(),
        restore_from_image: config.runtime.restore_from_image,
        container: config.container.clone(),
        hooks_dirs: config.runtime.hooks_dirs.clone(),
    })
}

fn monitor(configured: Option<&Path>) -> Result<PathBuf, Error> {
    if let Some(path) = configured {
        return Ok(path.to_owned());
    }
    let own = "/proc/self/exe";
    let exe = std::env::current_exe().map_err(Error::store("looking for the daemon's own binary", own))?;
    Ok(exe.with_file_name(MONITOR))
}

/// Asks every handler what it can do, all at once, whether or not the returned future is waited for. One that does not
/// say may be installed or mended later; until then its pods are refused.
fn ask_handlers(inner: &Inner) -> impl Future<Output = ()> + use<> {
    let ask = |(name, handler): (&String, &Handler)| {
        let (name, runtime) = (name.clone(), handler.runtime.clone());
        tokio::spawn(async move {
            if let Err(error) = runtime.features().await {
                tracing::warn!(runtime_handler = name, %error, "pods of this handler are refused for now");
            }
        })
    };
    let asked: Vec<_> = inner.handlers.iter().map(ask).collect();
    async move {
        for answer in asked {
            let _ = answer.await;
        }
    }
}

fn handlers(config: &Config, layout: &Layout) -> Result<std::collections::BTreeMap<String, Handler>, Error> {
    let handler = |(name, handler): (&String, &linkspan_config::Handler)| {
        let runtime = runtimes::runtime(config, layout, name, handler);
        let options = Arc::new(HandlerOptions::read(handler)?);
        let (path, sandbox) = (handler.path.clone(), handler.sandbox);
        Ok((name.clone(), Handler { runtime, path, sandbox, options }))
    };
    config.runtime.handlers.iter().map(handler).collect()
}
