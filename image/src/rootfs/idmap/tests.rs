use std::fs;
use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn only_ids_inside_the_range_are_mapped() {
    let map = IdMap { host_id: 65_536, length: 1_000 };
    assert_eq!((map.to_host(0), map.to_host(999), map.to_host(1_000)), (Some(65_536), Some(66_535), None));
    assert_eq!(IdMap { host_id: u32::MAX, length: 2 }.to_host(1), None);
}

/// A process in a user namespace of its own; ends with this value.
pub(crate) struct Holder(std::process::Child);

impl Holder {
    pub(crate) fn new(id_map: IdMap) -> Self {
        let holder = std::process::Command::new("unshare").args(["--user", "sleep", "1000"]).spawn().unwrap();
        let holder = Self(holder);
        let own = fs::read_link("/proc/self/ns/user").unwrap();
        while fs::read_link(holder.file()).unwrap() == own {
            std::thread::yield_now();
        }
        for name in ["uid_map", "gid_map"] {
            let line = format!("0 {} {}", id_map.host_id, id_map.length);
            fs::write(format!("/proc/{}/{name}", holder.0.id()), line).unwrap();
        }
        holder
    }

    pub(crate) fn file(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/user", self.0.id()))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn can_mount() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: needs root to mount");
    }
    root
}

#[test]
fn layers_are_mapped_on_new_kernels_and_on_older_ones() {
    if !can_mount() {
        return;
    }
    let holder = Holder::new(IdMap { host_id: 500_000, length: 1_000 });
    let userns = File::open(holder.file()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let layers = dir.path().join("layers");
    let plan = |name: &str| {
        let make = |path: PathBuf| {
            fs::create_dir_all(&path).unwrap();
            path
        };
        overlay::Plan {
            lower_dirs: vec![make(layers.join("b/diff")), make(layers.join("a/diff"))],
            writable: Some(overlay::Writable {
                upper_dir: make(dir.path().join(name).join("upper")),
                work_dir: make(dir.path().join(name).join("work")),
            }),
            target: make(dir.path().join(name).join("target")),
            access: overlay::Access::ReadWrite,
            selinux_label: None,
        }
    };
    fs::create_dir_all(layers.join("a/diff")).unwrap();
    fs::write(layers.join("a/diff/file"), "x").unwrap();
    let seen = |plan: &overlay::Plan| {
        let uid = fs::metadata(plan.target.join("file")).map(|metadata| metadata.uid());
        overlay::unmount(&plan.target).unwrap();
        uid.unwrap()
    };
    let old = plan("old");
    by_scratch_thread(&old, &layers, &userns).unwrap();
    assert_eq!(seen(&old), 500_000);
    let new = plan("new");
    mount(&new, &layers, &holder.file()).unwrap();
    assert_eq!(seen(&new), 500_000);
    let direct = plan("direct");
    let mapped = mapped(&layers, userns.as_fd(), false).unwrap();
    match overlay::mount(&seen_by(&direct, &layers, &mapped)) {
        Ok(()) => assert_eq!(seen(&direct), 500_000),
        Err(error) => eprintln!("SKIP: Linux before 6.15 makes no overlay of an unattached mount: {error}"),
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(&*dir.path().to_string_lossy()), "{mounts}");
}

#[test]
fn what_cannot_be_mapped_is_named() {
    if !can_mount() {
        return;
    }
    let holder = Holder::new(IdMap { host_id: 500_000, length: 1_000 });
    let error = mappable(Path::new("/proc/sys"), &holder.file()).unwrap_err();
    assert!(error.to_string().starts_with("/proc/sys: cannot be mounted with other owners: "), "{error}");
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(mappable(dir.path(), &holder.file()).unwrap(), Mappable::All);
    assert_eq!(mappable(Path::new("/"), &holder.file()).unwrap(), Mappable::Top, "/proc is below it");
}
