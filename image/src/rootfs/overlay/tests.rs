use super::*;

/// Directories whose names are too long for the mount calls.
fn plan(dir: &Path, layers: usize) -> Plan {
    let deep = dir.join("d".repeat(200)).join("e".repeat(200));
    let lower = |n: usize| deep.join(format!("lower{n}"));
    for n in 0..layers {
        fs::create_dir_all(lower(n)).unwrap();
        fs::write(lower(n).join(format!("f{n}")), "x").unwrap();
    }
    let make = |name: &str| {
        let path = deep.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    Plan {
        lower_dirs: (0..layers).rev().map(lower).collect(),
        writable: Some(Writable { upper_dir: make("upper"), work_dir: make("work") }),
        target: make("target"),
        access: Access::ReadWrite,
        selinux_label: None,
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
fn long_paths_are_mounted_by_descriptor() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 3);
    mount(&plan).unwrap();
    let seen = fs::read_dir(&plan.target).unwrap().count();
    unmount(&plan.target).unwrap();
    assert_eq!(seen, 3);
}

#[test]
fn kernels_without_the_new_options_mount_the_old_way() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let plan = plan(dir.path(), 130);
    let directories = Directories::open(&plan).unwrap();
    let mounted = classic(&plan, &directories).map_err(|failure| failure.to_text());
    let seen = fs::read_dir(&plan.target).unwrap().count();
    unmount(&plan.target).unwrap();
    assert_eq!((mounted, seen), (Ok(()), 130));
}

#[test]
fn a_mount_that_fails_says_why_in_the_kernels_words() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut plan = plan(dir.path(), 1);
    plan.lower_dirs = vec![dir.path().join("missing")];
    let error = mount(&plan).unwrap_err().to_string();
    assert!(error.contains("lowerdir+") && error.contains("No such file"), "{error}");
}
