//! What images, vendors' files and runtimes may say: the bodies of the fuzz targets in `fuzz/`. As property tests they run with all
//! others.

#[path = "../../fuzz/scratch.rs"]
mod scratch;

use std::cell::RefCell;
use std::fs;

use scratch::scratch;
use tempfile::TempDir;

use crate::user::{SupplementalGroupsPolicy, UserRequest, UserText, home, resolve};

pub use crate::cdi::fuzz::cdi;
pub use crate::runtime::fuzz::features;

thread_local! {
    static ROOTFS: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// `USER`, `passwd` and `group` of an image, with NULs between them.
///
/// # Panics
/// On a fault.
pub fn users(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (user, passwd, group) = (part(), part(), part());
    let image_user = String::from_utf8_lossy(user).into_owned();
    ROOTFS.with_borrow_mut(|rootfs| {
        let rootfs = rootfs.get_or_insert_with(root_file_system).path();
        fs::write(rootfs.join("etc/passwd"), passwd).expect("a file");
        fs::write(rootfs.join("etc/group"), group).expect("a file");
        for policy in [SupplementalGroupsPolicy::Merge, SupplementalGroupsPolicy::Strict] {
            let request = UserRequest { image_user: image_user.clone(), policy, ..UserRequest::default() };
            let Ok(resolved) = resolve(rootfs, &request) else { continue };
            let gids = &resolved.additional_gids;
            assert_eq!(gids.first(), Some(&resolved.gid), "the primary group comes first");
            let all = gids.iter().chain([&resolved.uid]);
            assert!(all.clone().all(|id| *id != u32::MAX), "{resolved:?} has an ID that changes nothing");
            assert!(gids.iter().enumerate().all(|(at, gid)| !gids[..at].contains(gid)), "{gids:?}");
            match UserText::parse(&image_user).map(|text| text.user) {
                Ok(Some(crate::user::Account::Id(uid))) => {
                    assert_eq!(resolved.uid, uid, "digits are that number")
                }
                Ok(Some(_)) => {}
                Ok(None) => assert_eq!(resolved.uid, 0, "nobody is root"),
                Err(error) => panic!("{error}, but it was resolved to {resolved:?}"),
            }
            let _ = home(rootfs, resolved.uid).expect("a file that was read can be read again");
        }
    });
}

fn root_file_system() -> TempDir {
    let rootfs = scratch();
    fs::create_dir(rootfs.path().join("etc")).expect("a directory");
    rootfs
}

#[cfg(test)]
mod tests;
