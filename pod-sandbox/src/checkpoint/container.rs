//! CheckpointContainer, and what CheckpointPod does for each container.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkspan_files::Access;
use linkspan_runtime_oci::runtime::CheckpointDirs;

use super::{Means, UNFINISHED, archive, dump, means, remove_file};
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::error::{Error, Refusal};
use crate::host_files::{HostAccess, Step};
use crate::model::{ContainerId, Timestamp};
use crate::mounts;
use crate::own_files::{make_dir, write as write_file};
use crate::pods::{Inner, Pods};
use crate::sandbox::record::SandboxRecord;
use crate::table::blocking;
use crate::undo::Undo;
use crate::{find, validate};

impl Pods {
    /// Writes the state of a running container to the archive `location` and lets it go on (CRI api.proto,
    /// CheckpointContainer). `timeout` is for CRIU; `None`: as for any call of the runtime. Cancel safe: it is
    /// finished, or leaves nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::Refused`] unless it runs; [`Error::BadConfig`] for the
    /// location; [`Error::NoCheckpoint`]; [`Error::Runtime`] with CRIU's words.
    pub async fn checkpoint_container(
        &self,
        id: &str,
        location: &str,
        timeout: Option<Duration>,
    ) -> Result<(), Error> {
        let record = find::container(&self.inner.table.snapshot(), id)?;
        validate::path("location", location)?;
        let location = PathBuf::from(location);
        let (inner, subject) = (Arc::clone(&self.inner), record.id.clone());
        let sandbox = find::sandbox(&inner.table.snapshot(), record.sandbox_id.as_str())?;
        let (access, dir) = (HostAccess::new(&sandbox.config, "looking at", &location), location.clone());
        let is_dir = inner.host_files.run(access, move |_| Ok(dir.is_dir()));
        if location.file_name().is_none() || is_dir.await? {
            return Err(Error::bad("location", format!("{} is no place for a file", location.display())));
        }
        let means = means(&self.inner, &record.handler).await?;
        let timeout = timeout.unwrap_or(inner.settings.runtime_timeout);
        let work = Box::pin(async move {
            let _sandbox = inner.hold_pod(&record.sandbox_id).await;
            let _lock = record.entry.lock.exclusive().await;
            let (record, sandbox) = running(&inner, &record.id)?;
            let mut always = Undo::default();
            let mut failed = Undo::default();
            let written = async {
                let whose = (&*record, &*sandbox);
                let place = Place::prepare(&inner, whose, &location, &mut always, &mut failed).await?;
                freeze(&means, &record.id, &mut always).await?;
                write(&inner, &means, (&record, &sandbox), &place, timeout).await
            };
            let written = written.await;
            finish(written, always, failed).await?;
            tracing::info!(container_id = %record.id, location = %location.display(), "container checkpointed");
            Ok(())
        });
        self.inner.detached("CheckpointContainer", subject, work).await
    }
}

/// The container and its sandbox, if it runs now.
pub(super) fn running(
    inner: &Inner,
    id: &ContainerId,
) -> Result<(Arc<ContainerRecord>, Arc<SandboxRecord>), Error> {
    let snapshot = inner.table.snapshot();
    let record = snapshot.containers.get(id).ok_or_else(|| Error::NoSuchContainer(id.to_string()))?;
    if !matches!(record.state, State::Running { .. }) {
        let state = record.state.for_cri();
        return Err(Error::Refused(Refusal::NotRunning { id: id.to_string(), state }));
    }
    let sandbox = snapshot.sandboxes.get(&record.sandbox_id);
    let sandbox = sandbox.ok_or_else(|| Error::NoSuchSandbox(record.sandbox_id.to_string()))?;
    Ok((Arc::clone(record), Arc::clone(sandbox)))
}

/// Until `always` is run.
pub(super) async fn freeze(means: &Means, id: &ContainerId, always: &mut Undo) -> Result<(), Error> {
    let (runtime, id) = (means.runtime.clone(), id.to_string());
    let resumed = id.clone();
    let resuming = runtime.clone();
    always.push("let container go on", move || async move { Ok(resuming.resume(&resumed).await?) });
    Ok(runtime.pause(&id).await?)
}

/// Where an archive is made. There before its container is frozen: a crash must leave a note of that.
pub(super) struct Place {
    work: PathBuf,
    unfinished: PathBuf,
    location: PathBuf,
}

impl Place {
    pub(super) async fn prepare(
        inner: &Arc<Inner>,
        (record, sandbox): (&ContainerRecord, &SandboxRecord),
        location: &Path,
        always: &mut Undo,
        failed: &mut Undo,
    ) -> Result<Self, Error> {
        let id = record.id.as_str();
        let work = inner.layout.checkpoints_dir().join(id);
        // Beside its place, so that it can be moved there.
        let name = location.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = location.with_file_name(format!(".{name}.{}", &id[..12.min(id.len())]));
        let (dir, file) = (work.clone(), unfinished.clone());
        always.push("remove working directory", move || {
            blocking("removing a checkpoint's directory", move || mounts::remove_tree(&dir))
        });
        // The sandbox may be stopped by then.
        let removing = HostAccess::new(&sandbox.config, "removing unfinished archive", &file);
        let undoing = Arc::clone(inner);
        failed.push("remove unfinished archive", move || async move {
            undoing.host_files.run(removing, move |_| remove_file(&file)).await
        });
        let (dir, file) = (work.clone(), unfinished.clone());
        blocking("making a checkpoint's directory", move || {
            make_dir(&dir, Access::Private)?;
            let note = dir.join(UNFINISHED);
            write_file(&note, file.as_os_str().as_bytes(), Access::Private)
        })
        .await?;
        Ok(Self { work, unfinished, location: location.to_owned() })
    }
}

/// Makes the archive of a frozen container.
pub(super) async fn write(
    inner: &Arc<Inner>,
    means: &Means,
    (record, sandbox): (&Arc<ContainerRecord>, &Arc<SandboxRecord>),
    place: &Place,
    timeout: Duration,
) -> Result<(), Error> {
    let id = record.id.as_str();
    let work = place.work.clone();
    let dirs = CheckpointDirs { images: work.join(archive::IMAGES), work: work.join("criu") };
    means.runtime.checkpoint(id, &dirs, &means.criu, timeout).await?;
    let deleted = inner.images.rootfs_diff(id, &work.join(archive::CHANGES)).await?;
    let bundle = inner.layout.bundle(&record.sandbox_id, &record.id);
    let (record, sandbox) = (Arc::clone(record), Arc::clone(sandbox));
    let (unfinished, location) = (place.unfinished.clone(), place.location.clone());
    let access = HostAccess::of(&sandbox, "writing checkpoint", &location).within(timeout);
    let pack = move |step: &Step| {
        archive::write_json(&work.join(archive::DELETED), &deleted)?;
        archive::write_json(&work.join(archive::CONFIG), &dump::ConfigDump::of(&record, Timestamp::now()))?;
        archive::write_json(&work.join(archive::SPEC), &dump::spec(&bundle, &record, &sandbox)?)?;
        for log in archive::LOGS {
            // CRIU leaves its statistics beside its images or beside its log.
            let _ = fs::rename(dirs.work.join(log), work.join(log));
        }
        archive::publish(&work, &unfinished, &location, step)
    };
    inner.host_files.run(access, pack).await
}

/// Whatever came of it, nothing stays frozen.
pub(super) async fn finish<T>(result: Result<T, Error>, always: Undo, failed: Undo) -> Result<T, Error> {
    match &result {
        Ok(_) => failed.disarm(),
        Err(_) => failed.run().await,
    }
    always.run().await;
    result
}
