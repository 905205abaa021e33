//! Checkpoints: the processes of running containers as files, and containers made of them. The runtime does it by CRIU.
//!
//! ```text
//! running ─freeze─▶ frozen ─runtime's checkpoint, changed files─▶ archive;  ─go on─▶ running, in any case
//! archive ─unpack─▶ root file system, images ─create─▶ awaits restore ─start: runtime's restore─▶ running
//! ```
//! Whatever a crash leaves frozen or half written is let go of by the next daemon ([`collect`]).

pub(crate) mod archive;
mod container;
mod dump;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod pod;
pub(crate) mod restore;
mod restore_pod;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_runtime_oci::Runtime;
use linkspan_runtime_oci::runtime::find_criu;

use crate::error::Error;
use crate::host_files::HostAccess;
use crate::mounts;
use crate::own_files::names;
use crate::pods::Inner;

pub use restore_pod::{RestoreRequest, Restored};

/// In a checkpoint's working directory: the archive that is being written, to be removed after a crash.
const UNFINISHED: &str = "unfinished";

/// What it takes.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) runtime: Runtime,
    pub(crate) criu: PathBuf,
}

/// # Errors
/// [`Error::NoCheckpoint`] if the handler's runtime cannot, or the host has no CRIU.
pub(crate) async fn means(inner: &Inner, handler: &str) -> Result<Means, Error> {
    let runtime = inner.runtime(handler)?.clone();
    if !runtime.features().await?.checkpoint {
        let reason = "does not say that it can (annotation org.opencontainers.runc.checkpoint.enabled of its `features`); \
             runc can, and a crun that was built with CRIU";
        return Err(Error::NoCheckpoint(format!("the runtime of handler {handler:?} {reason}")));
    }
    let criu = find_criu(inner.settings.criu.as_deref()).ok_or_else(|| {
        let reason = "no criu on this host: install CRIU, or name its binary by the option runtime.criu";
        Error::NoCheckpoint(reason.to_owned())
    })?;
    Ok(Means { runtime, criu })
}

/// Lets go of what a daemon left that died over a checkpoint: a container of that name may still be frozen.
pub(crate) async fn collect(inner: &Arc<Inner>) {
    for id in names(&inner.layout.checkpoints_dir()) {
        let record =
            inner.table.snapshot().containers.values().find(|record| record.id.as_str() == id).cloned();
        if let Some(runtime) = record.and_then(|record| inner.runtime(&record.handler).ok()) {
            // Most likely it is running; then there is nothing to resume.
            let _ = runtime.resume(&id).await;
        }
        let dir = inner.layout.checkpoints_dir().join(&id);
        let access = HostAccess::left_by(&id, "removing an unfinished checkpoint in", &dir);
        let removed = inner.host_files.run(access, move |step| {
            if let Ok(path) = fs::read_to_string(dir.join(UNFINISHED)) {
                step.next("removing unfinished archive", Path::new(&path))?;
                remove_file(Path::new(&path))?;
            }
            mounts::remove_tree(&dir)
        });
        match removed.await {
            Ok(()) => tracing::info!(container_id = id, "collected an unfinished checkpoint"),
            Err(error) => tracing::error!(container_id = id, %error, "an unfinished checkpoint stays"),
        }
    }
}

fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::store("removing", path)(error))
        }
        _ => Ok(()),
    }
}
