//! CRI `Mount.image`: images and artifacts as volumes of a container (KEP-4639), each mounted below its bundle.
//!
//! ```text
//! resolve ─▶ the record names the images: none of them can be removed ─▶ mount ─▶ the sub-path inside, for the spec
//! ```
//! A mount that a crash leaves goes with the bundle: its removal unmounts all below it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use linkspan_files::Access;
use linkspan_image::{ImageId, Images, MountOptions};
use linkspan_runtime_oci::rooted::Root;

use super::reserve::image_ref;
use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::model::ContainerConfig;
use crate::own_files::make_dir;
use crate::pods::Inner;
use crate::table::blocking;

/// By the index of the requested mount: what is to be bound into the container.
pub(super) type ImageVolumes = BTreeMap<usize, PathBuf>;

/// The images, in the order of the mounts that ask for them; each mount's `image_ref` is filled in for Status.
pub(super) fn resolve(images: &Images, config: &mut ContainerConfig) -> Result<Vec<ImageId>, Error> {
    let mut found = Vec::new();
    for (index, mount) in config.mounts.iter_mut().enumerate() {
        let Some(wanted) = &mut mount.image else { continue };
        let missing = || failed(index, "image", Error::NoSuchImage(wanted.image.clone()));
        let image = images.find(&wanted.image).ok_or_else(missing)?;
        wanted.image_ref = image_ref(&image, &wanted.image);
        found.push(image.id.clone());
    }
    Ok(found)
}

/// Mounts them below the bundle. The bundle's removal is the reverse, and the record is written already.
pub(super) async fn mount(
    inner: &Inner,
    record: &ContainerRecord,
    bundle: &Path,
    options: &MountOptions,
) -> Result<ImageVolumes, Error> {
    let mut volumes = ImageVolumes::new();
    let wanted = record.config.mounts.iter().enumerate().filter(|(_, mount)| mount.image.is_some());
    for ((index, mount), image) in wanted.zip(&record.volume_images) {
        let target = dir(bundle).join(index.to_string());
        let made = target.clone();
        blocking("making a mount point", move || make_dir(&made, Access::Private)).await?;
        let mounted = inner.images.mount_volume(image, &target, options).await;
        mounted.map_err(|error| failed(index, "image", error.into()))?;
        let sub_path = PathBuf::from(&mount.image_sub_path);
        let look = move || Ok(Root::open(&target)?.resolve(&sub_path)?);
        let inside = blocking("looking into an image", look).await;
        volumes.insert(index, inside.map_err(|error| failed(index, "image_sub_path", error))?);
    }
    Ok(volumes)
}

/// Not mounted or gone: Ok.
pub(crate) async fn unmount(inner: &Inner, record: &ContainerRecord, bundle: &Path) -> Result<(), Error> {
    for (index, mount) in record.config.mounts.iter().enumerate() {
        if mount.image.is_some() {
            inner.images.unmount_rootfs(&dir(bundle).join(index.to_string())).await?;
        }
    }
    Ok(())
}

fn dir(bundle: &Path) -> PathBuf {
    bundle.join("images")
}

fn failed(index: usize, field: &str, source: Error) -> Error {
    Error::ImageVolume { field: format!("config.mounts[{index}].{field}"), source: Box::new(source) }
}
