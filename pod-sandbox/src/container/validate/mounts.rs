//! Rules for one mount: where it comes from, and how it is mounted.

use crate::error::Error;
use crate::model::{Mount, Propagation};
use crate::validate;

const LONGEST_IMAGE: usize = 4096;

/// What a bind mount can be given (mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS"), those that exclude each other
/// side by side. Kubernetes itself asks for `noexec`, `nosuid` and `nodev` (KEP-5855).
const OPTIONS: [&[&str]; 6] = [
    &["exec", "noexec"],
    &["dev", "nodev"],
    &["suid", "nosuid"],
    &["ro", "rw"],
    &["noatime", "relatime", "strictatime"],
    &["diratime", "nodiratime"],
];

/// CRI `Mount.host_path` or `Mount.image`: one of them.
pub(super) fn source(field: &str, mount: &Mount) -> Result<(), Error> {
    let Some(image) = &mount.image else {
        if !mount.image_sub_path.is_empty() {
            return Err(Error::bad(format!("{field}.image_sub_path"), "needs an image beside it"));
        }
        return validate::path(&format!("{field}.host_path"), &mount.host_path);
    };
    validate::bounded(&format!("{field}.image.image"), &image.image, LONGEST_IMAGE)?;
    if !mount.host_path.is_empty() {
        return Err(Error::bad(format!("{field}.host_path"), "must be empty with an image beside it"));
    }
    if !mount.readonly {
        return Err(Error::bad(format!("{field}.readonly"), "must be true: an image cannot be written to"));
    }
    if mount.propagation != Propagation::Private {
        return Err(Error::bad(
            format!("{field}.propagation"),
            "must be private: an image has no mounts to pass on",
        ));
    }
    match mount.image_sub_path.as_str() {
        "" => Ok(()),
        path => validate::relative_path(&format!("{field}.image_sub_path"), path),
    }
}

/// CRI `Mount.mount_options`.
pub(super) fn options(field: &str, mount: &Mount) -> Result<(), Error> {
    let options: Vec<&str> = mount.mount_options.iter().map(String::as_str).collect();
    let bad = |reason: String| Err(Error::bad(format!("{field}.mount_options"), reason));
    for option in &options {
        let Some(group) = OPTIONS.iter().find(|group| group.contains(option)) else {
            let start: String = option.chars().take(64).collect();
            return bad(format!(
                "{start:?} is not one for bind mounts; known are {}",
                OPTIONS.concat().join(", ")
            ));
        };
        if let Some(other) = options.iter().find(|other| *other != option && group.contains(other)) {
            return bad(format!("{option:?} and {other:?} exclude each other"));
        }
    }
    let has = |option: &str| options.contains(&option);
    if has("ro") && !mount.readonly || has("rw") && mount.readonly {
        return bad(format!("contradicts {field}.readonly, which is {}", mount.readonly));
    }
    match ["exec", "dev", "suid"].into_iter().find(|option| mount.image.is_some() && has(option)) {
        Some(option) => {
            bad(format!("{option:?} is not for images: they are mounted noexec, nodev and nosuid"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
