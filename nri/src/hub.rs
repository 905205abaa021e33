//! All plugins of the node: those that connect to the socket, and those that we start.

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use linkspan_config::Nri;
use linkspan_files::socket::{Clients, Place, listen};
use tokio::net::UnixListener;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::{Container, ContainerEviction, ContainerUpdate, PodSandbox};
use crate::error::Error;
use crate::plugin::{Deadlines, Plugin};
use crate::required::Required;
use crate::turn::Turn;
use crate::{launch, register};

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What plugins want of pods and containers beside hearing of them. It must not wait for a [`Turn`].
pub trait Runtime: Send + Sync {
    /// All pods and containers that a plugin must know of: those whose first event was delivered, whether or not anybody
    /// heard it, and whose last one was not.
    fn objects(&self) -> Answer<'_, (Vec<PodSandbox>, Vec<Container>)>;

    /// Changes and ends containers at the wish of a plugin. Gives the updates that did not succeed.
    fn update<'a>(
        &'a self,
        plugin: &'a str,
        updates: Vec<ContainerUpdate>,
        evictions: Vec<ContainerEviction>,
    ) -> Answer<'a, Vec<ContainerUpdate>>;
}

/// The node's plugins. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Nri,
    pub(crate) runtime: OnceLock<Arc<dyn Runtime>>,
    /// In the order in which they are called. Held while they are: one event at a time, as the reference has it.
    pub(crate) plugins: Arc<Mutex<Vec<Arc<Plugin>>>>,
    /// How many there are, for those who do not want to wait.
    pub(crate) count: AtomicUsize,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
    /// Of the socket, once we listen.
    place: OnceLock<Place>,
}

impl Hub {
    /// Nobody is connected yet, and nobody can: see [`Hub::start`].
    #[must_use]
    pub fn new(settings: Nri) -> Self {
        let inner = Inner {
            settings,
            runtime: OnceLock::new(),
            plugins: Arc::default(),
            count: AtomicUsize::new(0),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            place: OnceLock::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts the pre-installed plugins and lets others connect; their wishes go to `runtime`.
    ///
    /// # Errors
    /// [`Error::Io`] for a socket that cannot be made. A plugin that does not start is logged and left out.
    pub async fn start(&self, runtime: Arc<dyn Runtime>) -> Result<(), Error> {
        let inner = &self.inner;
        // Started once; a second call finds the first one's.
        let _ = inner.runtime.set(runtime);
        launch::run(inner).await;
        if inner.settings.disable_connections {
            return Ok(());
        }
        let socket = &inner.settings.socket;
        let (listener, place) = bind(socket)?;
        let _ = inner.place.set(place);
        tracing::info!(socket = %socket.display(), "NRI plugins may connect");
        inner.tasks.spawn(accept(Arc::clone(inner), listener));
        Ok(())
    }

    /// Whether anybody may hear of an event. One that begins to listen later finds in its synchronization what happened
    /// before this was asked.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.inner.count.load(Ordering::SeqCst) > 0
    }

    /// The right to tell the plugins of one event; others wait for its end.
    pub async fn turn(&self) -> Turn {
        let plugins: OwnedMutexGuard<_> = Arc::clone(&self.inner.plugins).lock_owned().await;
        Turn::new(plugins, Required::new(&self.inner.settings))
    }

    /// Says goodbye to all plugins and accepts no more.
    pub async fn shutdown(&self) {
        self.inner.closing.cancel();
        let plugins = std::mem::take(&mut *self.inner.plugins.lock().await);
        self.inner.count.store(0, Ordering::SeqCst);
        for plugin in plugins {
            plugin.shut_down().await;
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Some(Err(error)) = self.inner.place.get().map(Place::remove) {
            tracing::debug!(%error, "the NRI socket was not removed");
        }
    }
}

impl Inner {
    pub(crate) fn deadlines(&self) -> Deadlines {
        let Nri { plugin_registration_timeout, plugin_request_timeout, .. } = self.settings;
        Deadlines { registration: plugin_registration_timeout, request: plugin_request_timeout }
    }

    /// Takes those out that have lost their connection.
    pub(crate) async fn sweep(&self) {
        let mut plugins = self.plugins.lock().await;
        plugins.retain(|plugin| plugin.is_connected());
        self.count.store(plugins.len(), Ordering::SeqCst);
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("count", &self.count).finish_non_exhaustive()
    }
}

/// Root alone may connect: a plugin can make any container privileged.
fn bind(path: &Path) -> Result<(UnixListener, Place), Error> {
    use std::io::{Error as IoError, ErrorKind};
    use std::os::unix::fs::DirBuilderExt;
    let dir = path.parent().unwrap_or(Path::new("/"));
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(Error::io("making directory", dir))?;
    // One of an earlier daemon answers no more; that of another runtime does.
    let listening = listen(path, Clients { mode: 0o600, group: None }).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => IoError::new(
            ErrorKind::AddrInUse,
            "another runtime answers on it; nri.socket names another one, nri.enable = false does without",
        ),
        ErrorKind::AlreadyExists => IoError::new(ErrorKind::AlreadyExists, "what is there is no socket"),
        _ => error,
    });
    let (listener, place) = listening.map_err(Error::io("listening on", path))?;
    let listener = UnixListener::from_std(listener).map_err(Error::io("listening on", path))?;
    Ok((listener, place))
}

async fn accept(inner: Arc<Inner>, listener: UnixListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = inner.closing.cancelled() => return,
        };
        match accepted {
            Ok((socket, _)) => {
                inner.tasks.spawn(register::run(Arc::clone(&inner), socket, None));
            }
            Err(error) => {
                tracing::warn!(%error, "an NRI plugin could not connect");
                // Out of descriptors, most likely: others need time to close theirs.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
