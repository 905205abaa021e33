//! The first phase of a create: its record, and its root file system, mounted.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use linkspan_image::{Image, ImageConfig, MountOptions};
use linkspan_runtime_oci::Timestamp;

use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::error::Error;
use crate::model::{ContainerConfig, ContainerId, ContainerUser, Signal};
use crate::mounts;
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::table::blocking;
use crate::undo::Undo;

/// What later phases build on.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    /// In the state `Creating`; its user is not known yet.
    pub(super) record: ContainerRecord,
    /// What the image says about its processes.
    pub(super) image: ImageConfig,
    pub(super) bundle: PathBuf,
    /// Mounted.
    pub(super) rootfs: PathBuf,
}

pub(super) async fn run(
    inner: &Arc<Inner>,
    sandbox: &SandboxRecord,
    config: ContainerConfig,
    undo: &mut Undo,
) -> Result<Reserved, Error> {
    let wanted = &config.image.image;
    let image = inner.images.find(wanted).ok_or_else(|| Error::NoSuchImage(wanted.clone()))?;
    let id = ContainerId::generate();
    let bundle = inner.layout.bundle(&sandbox.id, &id);
    let rootfs = bundle.join("rootfs");
    let record = draft(sandbox, config, &image, id)?;
    let key = record.id.to_string();

    let (table, withdrawn) = (Arc::clone(&inner.table), record.id.clone());
    undo.push("remove record", move || async move { table.withdraw::<ContainerRecord>(withdrawn).await });
    inner.table.announce(&record).await?;

    let (images, removed) = (inner.images.clone(), key.clone());
    undo.push("remove root file system", move || async move { Ok(images.remove_rootfs(&removed).await?) });
    inner.images.prepare_rootfs(&image.id, &key).await?;

    let dirs = [bundle.clone(), inner.layout.volumes(&record.id)];
    undo.push("remove bundle", move || {
        blocking("removing a bundle", move || dirs.iter().try_for_each(|dir| mounts::remove_tree(dir)))
    });
    let made = rootfs.clone();
    blocking("making a bundle", move || {
        fs::create_dir_all(&made).map_err(Error::store("making directory", &made))
    })
    .await?;

    let (images, unmounted) = (inner.images.clone(), rootfs.clone());
    undo.push(
        "unmount root file system",
        move || async move { Ok(images.unmount_rootfs(&unmounted).await?) },
    );
    inner.images.mount_rootfs(&key, &rootfs, &MountOptions::default()).await?;
    Ok(Reserved { record, image: image.config.clone(), bundle, rootfs })
}

fn draft(
    sandbox: &SandboxRecord,
    config: ContainerConfig,
    image: &Image,
    id: ContainerId,
) -> Result<ContainerRecord, Error> {
    Ok(ContainerRecord {
        sandbox_id: sandbox.id.clone(),
        handler: sandbox.handler.clone(),
        image_id: image.id.clone(),
        image_ref: image_ref(image, &config.image.image),
        created_at: Timestamp::now(),
        log_path: log_path(sandbox, &config, &id),
        cgroup_path: format!("{}/{id}", sandbox.cgroup.parent),
        user: ContainerUser::default(),
        stop_signal: stop_signal(&config, image)?,
        state: State::Creating,
        config,
        id,
    })
}

/// The digest that was asked for, else the first one, else the ID.
fn image_ref(image: &Image, wanted: &str) -> String {
    let asked = image.repo_digests.iter().find(|digest| *digest == wanted);
    asked.or(image.repo_digests.first()).cloned().unwrap_or_else(|| image.id.to_string())
}

fn log_path(sandbox: &SandboxRecord, config: &ContainerConfig, id: &ContainerId) -> String {
    let dir = sandbox.config.log_directory.trim_end_matches('/');
    match (dir, config.log_path.as_str()) {
        ("", _) => String::new(),
        (dir, "") => format!("{dir}/{id}.log"),
        (dir, path) => format!("{dir}/{path}"),
    }
}

fn stop_signal(config: &ContainerConfig, image: &Image) -> Result<Signal, Error> {
    if let Some(signal) = config.stop_signal {
        return Ok(signal);
    }
    match image.config.stop_signal.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            let refused = |bad| Error::bad("config.image.image", format!("its StopSignal: {bad}"));
            text.parse().map_err(refused)
        }
        None => Ok(Signal::default()),
    }
}
