//! In a process of its own: the umask is the whole process's.

use std::fs;
use std::os::unix::fs::MetadataExt;

use linkspan_files::{Access, make_dir, write};

const EACH: [(Access, u32, u32); 3] =
    [(Access::Private, 0o700, 0o600), (Access::Passable, 0o711, 0o600), (Access::Content, 0o755, 0o644)];

#[test]
fn modes_are_the_same_whatever_the_umask_is() {
    let dir = tempfile::tempdir().unwrap();
    for umask in [0o000, 0o022, 0o077, 0o777] {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(umask));
        for (access, of_dir, of_file) in EACH {
            let path = dir.path().join(format!("{umask:o}-{access:?}"));
            let file = path.join("file");
            make_dir(&path, access).unwrap();
            write(&file, "x", access).unwrap();
            let modes = [&path, &file].map(|path| fs::metadata(path).unwrap().mode() & 0o7777);
            assert_eq!(modes, [of_dir, of_file], "{umask:o} {access:?}");
        }
    }
}
