//! Images and artifacts as volumes: what they hold, mounted read-only (Kubernetes' KEP-4639).

use std::path::Path;

use crate::rootfs::idmap;
use crate::rootfs::overlay::{self, Access};
use crate::store::{Images, blocking};
use crate::{Error, ImageId, MountOptions};

impl Images {
    /// Mounts what an image or artifact holds at `target`, a directory that is there: read-only, and without devices,
    /// set-user-ID programs or anything executable, whatever `options` says of `readonly`. Mounted already: Ok.
    /// [`Images::unmount_rootfs`] is the reverse. Cancel safe: what was begun is finished.
    ///
    /// The caller keeps the image from being removed, from before this call until the mount is gone: it must be in
    /// use for the `in_use` of [`Images::remove`].
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] if it was removed meanwhile; [`Error::Io`].
    pub async fn mount_volume(
        &self,
        id: &ImageId,
        target: &Path,
        options: &MountOptions,
    ) -> Result<(), Error> {
        // No removal is half way between its look at `in_use` and its end.
        let turn = self.shared.turn().await;
        let Some(image) = self.shared.snapshot().image(id).cloned() else {
            return Err(Error::NoSuchImage { name: id.to_string() });
        };
        let (shared, target, options) = (self.shared.clone(), target.to_owned(), options.clone());
        blocking("mounting an image", move || {
            let _turn = turn;
            let mut dirs = shared.rootfs.lower_dirs(&image.layers, &shared.layers)?;
            // A file system without a writable directory is merged of two at least.
            if dirs.len() == 1 && !image.layers.is_empty() {
                dirs.push(shared.rootfs.empty_dir().to_owned());
            }
            if let [dir] = &dirs[..] {
                return overlay::bind(dir, &target);
            }
            let plan = overlay::Plan {
                lower_dirs: dirs,
                writable: None,
                target,
                access: Access::Data,
                selinux_label: options.selinux_label,
            };
            match &options.user_namespace {
                None => overlay::mount(&plan),
                Some(userns) => idmap::mount(&plan, shared.layers.dir(), userns),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests;
