//! The face of the crate: every request about pods and containers.
//!
//! A request that changes something runs detached from its caller: it ends or is undone whether or not the caller
//! waits. Dropping the future of such a method is safe at any time. Reads are served from the snapshot at once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkspan_config::Config;
use linkspan_image::Images;
use linkspan_runtime_oci::monitor::Monitor;
use linkspan_runtime_oci::{Cgroups, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::collect::Counts;
use crate::creating::Creating;
use crate::error::{Error, Refusal};
use crate::handler::Handler;
use crate::host::Host;
use crate::host_files::HostFiles;
use crate::layout::Layout;
use crate::locks::Shared;
use crate::model::{ContainerId, ContainerMetadata, SandboxId, SandboxMetadata};
use crate::network::Network;
use crate::operations::Operations;
use crate::own_cgroups;
use crate::plugins::Plugins;
use crate::selinux::Levels;
use crate::table::Table;

/// What [`Pods`] is made of.
#[derive(Clone)]
pub struct Parts {
    pub config: Arc<Config>,
    pub images: Images,
    pub network: Network,
    /// `None`: nobody else has a say.
    pub plugins: Option<Arc<dyn Plugins>>,
}

/// All pods and containers of the node. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Pods {
    pub(crate) inner: Arc<Inner>,
}

/// The options that operations need.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) default_handler: String,
    pub(crate) cgroup_name: String,
    /// The `linkspan-monitor` binary.
    pub(crate) monitor: PathBuf,
    /// For one call of the runtime.
    pub(crate) runtime_timeout: Duration,
    /// CRIU's binary; `None`: looked for.
    pub(crate) criu: Option<PathBuf>,
    /// CreateContainer may take a checkpoint for an image.
    pub(crate) restore_from_image: bool,
    pub(crate) container: linkspan_config::Container,
    pub(crate) hooks_dirs: Vec<PathBuf>,
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) handlers: BTreeMap<String, Handler>,
    /// By the names of handlers that are not configured any more.
    pub(crate) former_runtimes: BTreeMap<String, Runtime>,
    pub(crate) images: Images,
    pub(crate) network: Network,
    pub(crate) cgroups: Cgroups,
    pub(crate) host: Host,
    pub(crate) selinux_levels: Levels,
    pub(crate) layout: Layout,
    pub(crate) table: Arc<Table>,
    pub(crate) host_files: HostFiles,
    pub(crate) creating_sandboxes: Arc<Creating<SandboxMetadata, SandboxId>>,
    pub(crate) creating_containers: Arc<Creating<(SandboxId, ContainerMetadata), ContainerId>>,
    pub(crate) plugins: Arc<dyn Plugins>,
    /// Everything that runs detached.
    pub(crate) tasks: TaskTracker,
    /// Those that may try to undo at this moment.
    pub(crate) turns_to_undo: Semaphore,
    pub(crate) collected: Counts,
    /// What is under way.
    pub(crate) operations: Operations,
    /// Cancelled when the daemon goes down: from then on its pods are the next one's.
    pub(crate) closing: CancellationToken,
}

impl Inner {
    /// Runs `work` on `subject` to its end, whether or not the caller stays.
    pub(crate) async fn detached<T, F>(
        &self,
        what: &'static str,
        subject: impl Display,
        work: F,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.check_open()?;
        let work = self.operations.run(what, &subject, work);
        let task = self.tasks.spawn(work.in_current_span());
        task.await.unwrap_or_else(|_| Err(Error::Lost { what: what.to_owned() }))
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closing.is_cancelled() { Err(Error::Refused(Refusal::ShuttingDown)) } else { Ok(()) }
    }

    /// While it is held, the pod is neither stopped nor removed. `None`: there is no such pod.
    pub(crate) async fn hold_pod(&self, id: &SandboxId) -> Option<Shared> {
        match self.table.pod_entry(id) {
            Some(entry) => Some(entry.lock.shared().await),
            None => None,
        }
    }

    pub(crate) fn monitor(&self, sandbox: &SandboxId) -> Option<Monitor> {
        self.table.pod_entry(sandbox)?.monitor()
    }

    /// For what cannot be done without it.
    pub(crate) fn monitor_of(&self, sandbox: &SandboxId) -> Result<Monitor, Error> {
        self.monitor(sandbox).ok_or_else(|| Error::NoMonitor { sandbox: sandbox.to_string() })
    }
}

impl Pods {
    /// Accepts nothing new, and leaves everything as it is: the next daemon takes it from here.
    pub fn begin_shutdown(&self) {
        self.inner.closing.cancel();
    }

    /// Ends what is running and accepts nothing new. Pods go on; where there are none, our own group goes too.
    pub async fn shutdown(&self) {
        self.begin_shutdown();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if self.inner.table.snapshot().sandboxes.is_empty()
            && let Err(error) = own_cgroups::close(&self.inner).await
        {
            tracing::warn!(%error, "the daemon's own control groups stay");
        }
    }
}
