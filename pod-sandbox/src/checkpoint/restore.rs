//! From an archive to a container that awaits its restore, and from there to a running one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_files::Access;
use linkspan_image::Image;
use linkspan_runtime_oci::rooted::Root;
use linkspan_runtime_oci::runtime::{CheckpointDirs, restore_errors};
use linkspan_runtime_oci::{ConsoleSocket, CreateRequest, Error as RuntimeError, Timestamp};

use super::{archive, means};
use crate::container::exec::stdio_owner;
use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::exits;
use crate::host_files::{HostAccess, Step};
use crate::model::ContainerConfig;
use crate::own_files::make_dir;
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::table::blocking;

/// Of a request for a container.
pub(crate) const FIELD: &str = "config.image.image";
/// In the container's directory of volumes, which goes with it.
const DIR: &str = "checkpoint";

/// An archive's content.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked {
    dir: PathBuf,
    deleted: Vec<String>,
    /// By which its image may be known.
    images: Vec<String>,
}

/// The archive that the request names in an image's place (as with CRI-O); `None` if it names an image.
///
/// # Errors
/// [`Error::BadConfig`] unless the administrator allows it: the processes of a checkpoint bring their own privileges
/// along, whatever the pod was granted.
pub(crate) fn requested(inner: &Inner, config: &ContainerConfig) -> Result<Option<PathBuf>, Error> {
    match config.image.image.starts_with('/') {
        true => allowed(inner).map(|()| Some(PathBuf::from(&config.image.image))),
        false => Ok(None),
    }
}

fn allowed(inner: &Inner) -> Result<(), Error> {
    match inner.settings.restore_from_image {
        true => Ok(()),
        false => {
            let reason = "is a checkpoint; processes restored from one bring their own privileges along: \
                 the option runtime.restore_from_image allows it";
            Err(Error::bad(FIELD, reason))
        }
    }
}

/// Unpacks `archive` below the container's directory of volumes.
pub(crate) async fn unpack(
    inner: &Inner,
    sandbox: &SandboxRecord,
    archive: PathBuf,
    volumes: &Path,
) -> Result<Unpacked, Error> {
    let dir = volumes.join(DIR);
    let access = HostAccess::of(sandbox, "unpacking checkpoint", &archive);
    let unpack = move |_: &Step| {
        make_dir(&dir, Access::Private)?;
        archive::unpack(&archive, &dir, FIELD)?;
        look(dir)
    };
    inner.host_files.run(access.within(inner.settings.runtime_timeout), unpack).await
}

/// Whether the mounted root file system is an archive's content: an OCI image made of a checkpoint (checkpointctl,
/// buildah). Its files are copied.
pub(crate) async fn of_image(
    inner: &Inner,
    rootfs: &Path,
    volumes: &Path,
) -> Result<Option<Unpacked>, Error> {
    let rootfs = rootfs.to_owned();
    let find = move || {
        let rootfs = Root::open(&rootfs)?;
        Ok(archive::is_in(&rootfs)?.then_some(rootfs))
    };
    let Some(rootfs) = blocking("looking for a checkpoint", find).await? else { return Ok(None) };
    allowed(inner)?;
    let dir = volumes.join(DIR);
    blocking("copying a checkpoint", move || {
        make_dir(&dir, Access::Private)?;
        archive::copy(&rootfs, &dir)?;
        look(dir).map(Some)
    })
    .await
}

fn look(dir: PathBuf) -> Result<Unpacked, Error> {
    let config = archive::read_config(&dir, FIELD)?;
    Ok(Unpacked {
        deleted: archive::read_deleted(&dir, FIELD)?,
        images: config.image_names().map(str::to_owned).collect(),
        dir,
    })
}

impl Unpacked {
    /// The image that the container had.
    pub(crate) fn image(&self, inner: &Inner) -> Result<Arc<Image>, Error> {
        let found = self.images.iter().find_map(|name| inner.images.find(name));
        found.ok_or_else(|| Error::NoSuchImage(self.images.last().cloned().unwrap_or_default()))
    }

    /// Makes the mounted root file system what it was.
    pub(crate) async fn apply(&self, inner: &Inner, rootfs: &Path) -> Result<(), Error> {
        let changes = self.dir.join(archive::CHANGES);
        Ok(inner.images.apply_rootfs_diff(rootfs, &changes, self.deleted.clone()).await?)
    }
}

/// With the container's lock held: what create and start are for another container.
pub(crate) async fn start(inner: &Arc<Inner>, record: &ContainerRecord) -> Result<(), Error> {
    let id = record.id.to_string();
    let means = means(inner, &record.handler).await?;
    let monitor = inner.monitor_of(&record.sandbox_id)?;
    let bundle = inner.layout.bundle(&record.sandbox_id, &record.id);
    let dir = inner.layout.volumes(&record.id).join(DIR);
    let dirs = CheckpointDirs { images: dir.join(archive::IMAGES), work: dir.join("criu") };
    let (pid_file, runtime_log) = (bundle.join("pid"), bundle.join("log.json"));
    let terminal = record.config.tty.then(|| ConsoleSocket::in_dir(&bundle)).transpose()?;
    let console_socket = terminal.as_ref().map(ConsoleSocket::path);
    let files = (pid_file.as_path(), console_socket.as_deref(), runtime_log.as_path());
    let request = CreateRequest {
        command: means.runtime.restore_command(&id, &bundle, files, &dirs, &means.criu),
        restores: true,
        container_id: id,
        bundle: bundle.clone(),
        pid_file,
        runtime_log,
        log_path: record.log_file(),
        tty: record.config.tty,
        stdin: record.config.stdin,
        stdin_once: record.config.stdin_once,
        console_socket,
        stdio_owner: stdio_owner(inner, record),
        deadline: inner.settings.runtime_timeout,
        oom_files: inner.cgroups.oom_file(&record.cgroup_path).into_iter().collect(),
    };
    let now = Timestamp::now();
    let process = monitor.create(request).await.map_err(|error| in_its_words(error, &dirs))?;
    let change = move |record: &ContainerRecord| {
        let state = record.state.restored(process, now)?;
        Some(ContainerRecord { state, ..record.clone() })
    };
    inner.table.observe::<ContainerRecord>(&record.id, change).await?;
    exits::exited_early(inner, &record.sandbox_id, &record.id).await?;
    tracing::info!(container_id = %record.id, "container restored");
    Ok(())
}

/// The runtime quotes CRIU's log at length; its errors will do.
fn in_its_words(error: RuntimeError, dirs: &CheckpointDirs) -> RuntimeError {
    match (error, restore_errors(dirs)) {
        (RuntimeError::Runtime { runtime, verb, id, .. }, Some(message)) => {
            RuntimeError::Runtime { runtime, verb, id, message }
        }
        (error, _) => error,
    }
}
