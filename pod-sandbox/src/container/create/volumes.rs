//! An image's `VOLUME`s: a directory of the container's own each, filled with what the image has there.

use std::fs::{self, FileTimes, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use linkspan_files::Access;
use linkspan_runtime_oci::rooted::Root;

use super::plan::VolumePlan;
use crate::error::Error;
use crate::host_files::Step;
use crate::own_files::make_dir;

/// `owner`: whose an empty one is, unless it is root's.
pub(super) fn fill(rootfs: &Path, volume: &VolumePlan, owner: Option<u32>, step: &Step) -> Result<(), Error> {
    step.next("making volume", &volume.host_path)?;
    // The container's own are together in one directory.
    let dirs = [(volume.host_path.parent(), Access::Private), (Some(&*volume.host_path), Access::Content)];
    for (dir, access) in dirs.into_iter().filter_map(|(dir, access)| Some((dir?, access))) {
        make_dir(dir, access)?;
    }
    match (Root::open(rootfs)?.dir(&volume.container_path)?, owner) {
        (Some(source), _) => copy_dir(&source.path(), &volume.host_path, step),
        (None, Some(id)) => chown(&volume.host_path, Some(id), Some(id))
            .map_err(Error::store("giving away", &volume.host_path)),
        (None, None) => Ok(()),
    }
}

/// Copies content and attributes of a directory into one that is there. What is no file, directory or link is left
/// out: an image has no use for sockets and pipes.
fn copy_dir(from: &Path, to: &Path, step: &Step) -> Result<(), Error> {
    let listing = || Error::store("listing", from);
    for entry in fs::read_dir(from).map_err(listing())? {
        let entry = entry.map_err(listing())?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        step.next("copying to volume", &to)?;
        let metadata = fs::symlink_metadata(&from).map_err(Error::store("looking at", &from))?;
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let target = fs::read_link(&from).map_err(Error::store("reading link", &from))?;
            symlink(&target, &to).map_err(Error::store("linking", &to))?;
            lchown(&to, Some(metadata.uid()), Some(metadata.gid()))
                .map_err(Error::store("giving away", &to))?;
        } else if kind.is_dir() {
            fs::create_dir(&to).map_err(Error::store("making directory", &to))?;
            copy_dir(&from, &to, step)?;
        } else if kind.is_file() {
            fs::copy(&from, &to).map_err(Error::store("copying to", &to))?;
            attributes(&metadata, &to)?;
        }
    }
    // Last, since what is made inside changes the times. The path may be a link to an open directory.
    let metadata = fs::metadata(from).map_err(Error::store("looking at", from))?;
    attributes(&metadata, to)
}

fn attributes(metadata: &Metadata, to: &Path) -> Result<(), Error> {
    chown(to, Some(metadata.uid()), Some(metadata.gid())).map_err(Error::store("giving away", to))?;
    // After the change of owner, which clears the set-user-ID bit.
    fs::set_permissions(to, fs::Permissions::from_mode(metadata.mode() & 0o7777))
        .map_err(Error::store("setting the mode of", to))?;
    let times = metadata.modified().map(|time| FileTimes::new().set_modified(time));
    let file = fs::File::open(to).and_then(|file| file.set_times(times?));
    file.map_err(Error::store("setting the times of", to))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::super::plan::VolumePlan;
    use super::fill;
    use crate::host_files::Step;

    fn step() -> Step {
        Step::of_our_own("filling", "a volume".as_ref())
    }

    #[test]
    fn the_image_content_is_there_with_its_modes_and_links() {
        let dir = tempfile::tempdir().unwrap();
        let (root, volume) = (dir.path().join("root"), dir.path().join("volume/0"));
        fs::create_dir_all(root.join("real/sub")).unwrap();
        fs::write(root.join("real/sub/file"), "content").unwrap();
        fs::set_permissions(root.join("real/sub/file"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("sub/file", root.join("real/link")).unwrap();
        // The volume's path goes over a link that is absolute inside the image.
        symlink("/real", root.join("data")).unwrap();
        let plan = VolumePlan { container_path: PathBuf::from("/data"), host_path: volume.clone() };
        fill(&root, &plan, None, &step()).unwrap();
        assert_eq!(fs::read_to_string(volume.join("link")).unwrap(), "content");
        assert_eq!(fs::metadata(volume.join("sub/file")).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_path_the_image_does_not_have_makes_an_empty_volume() {
        let dir = tempfile::tempdir().unwrap();
        let plan = VolumePlan { container_path: PathBuf::from("/data"), host_path: dir.path().join("v") };
        fill(dir.path(), &plan, None, &step()).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("v")).unwrap().count(), 0);
    }
}
