//! Where things of pods and containers are on the node (ARCHITECTURE.md, "Where things are on a node").

use std::path::{Path, PathBuf};

use linkspan_files::Access;

use crate::model::{ContainerId, SandboxId};

/// The daemon's two directories, and every path below them that this crate uses.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root_dir: PathBuf,
    run_dir: PathBuf,
}

impl Layout {
    pub(crate) fn new(root_dir: &Path, run_dir: &Path) -> Self {
        Self { root_dir: root_dir.to_owned(), run_dir: run_dir.to_owned() }
    }

    /// Those that are there from the daemon's start, and who may reach them. A new one is a line here.
    pub(crate) fn directories(&self) -> [(PathBuf, Access); 5] {
        [
            (self.state_dir(), Access::Private),
            (self.volumes_dir(), Access::Private),
            (self.checkpoints_dir(), Access::Private),
            (self.runtimes_dir(), Access::Private),
            // A pod's users, who are nobody to the host, go through it to their own.
            (self.pods_dir(), Access::Passable),
        ]
    }

    /// The mark of what this daemon makes where others make things too (ADR 12).
    pub(crate) fn root_dir(&self) -> &Path {
        &self.root_dir
    }

    /// Records.
    pub(crate) fn state_dir(&self) -> PathBuf {
        Self::state_below(&self.root_dir)
    }

    /// For who knows nothing of the rest.
    pub(crate) fn state_below(root_dir: &Path) -> PathBuf {
        root_dir.join("state")
    }

    /// One directory per pod.
    pub(crate) fn pods_dir(&self) -> PathBuf {
        self.run_dir.join("pods")
    }

    pub(crate) fn pod_dir(&self, sandbox: &SandboxId) -> PathBuf {
        self.pods_dir().join(sandbox.as_str())
    }

    /// Pins of the pod's namespaces.
    pub(crate) fn namespaces_dir(&self, sandbox: &SandboxId) -> PathBuf {
        self.pod_dir(sandbox).join("ns")
    }

    pub(crate) fn shm(&self, sandbox: &SandboxId) -> PathBuf {
        self.pod_dir(sandbox).join("shm")
    }

    pub(crate) fn resolv_conf(&self, sandbox: &SandboxId) -> PathBuf {
        self.pod_dir(sandbox).join("resolv.conf")
    }

    pub(crate) fn hostname(&self, sandbox: &SandboxId) -> PathBuf {
        self.pod_dir(sandbox).join("hostname")
    }

    /// Of pods with the host's network alone.
    pub(crate) fn hosts(&self, sandbox: &SandboxId) -> PathBuf {
        self.pod_dir(sandbox).join("hosts")
    }

    /// The bundles of a pod's containers.
    pub(crate) fn bundles_dir(&self, sandbox: &SandboxId) -> PathBuf {
        self.pod_dir(sandbox).join("containers")
    }

    /// The OCI bundle: `config.json`, `rootfs`, and what belongs to the runtime's calls.
    pub(crate) fn bundle(&self, sandbox: &SandboxId, container: &ContainerId) -> PathBuf {
        self.bundles_dir(sandbox).join(container.as_str())
    }

    /// Content of the image's `VOLUME`s: may be large, so not on the run directory's tmpfs.
    pub(crate) fn volumes_dir(&self) -> PathBuf {
        self.root_dir.join("volumes")
    }

    pub(crate) fn volumes(&self, container: &ContainerId) -> PathBuf {
        self.volumes_dir().join(container.as_str())
    }

    /// Checkpoints that are being written, by container.
    pub(crate) fn checkpoints_dir(&self) -> PathBuf {
        self.root_dir.join("checkpoints")
    }

    /// Of all handlers that there ever were.
    pub(crate) fn runtimes_dir(&self) -> PathBuf {
        self.run_dir.join("runtimes")
    }

    /// A handler's `--root`: the runtime's own state.
    pub(crate) fn runtime_root(&self, handler: &str) -> PathBuf {
        self.runtimes_dir().join(handler)
    }
}
