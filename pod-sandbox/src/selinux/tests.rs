use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Label, Levels, Support, check_options, check_path, labels, level, policy, read, relabel};
use crate::model::SelinuxOptions;

const CONTEXTS: &str = "\
# what containers get
process = \"system_u:system_r:container_t:s0\"
content = \"system_u:object_r:virt_var_lib_t:s0\"
file = \"system_u:object_r:container_file_t:s0\"
";

/// A host whose SELinux is on, with these files below `/etc/selinux`.
fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("sys/fs/selinux")).unwrap();
    fs::write(root.path().join("sys/fs/selinux/enforce"), "1").unwrap();
    for (name, text) in files {
        let path = root.path().join("etc/selinux").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn on() -> Support {
    let root = host(&[("config", "# x\nSELINUXTYPE=mls\n"), ("mls/contexts/lxc_contexts", CONTEXTS)]);
    read(root.path())
}

fn options(kind: &str, level: &str) -> SelinuxOptions {
    SelinuxOptions { kind: kind.to_owned(), level: level.to_owned(), ..SelinuxOptions::default() }
}

#[test]
fn the_policy_is_the_one_that_the_host_runs() {
    assert_eq!(read(tempfile::tempdir().unwrap().path()), Support::Off);
    let Support::On(Ok(found)) = on() else { panic!("not found") };
    assert_eq!(found.process.kind, "container_t");
    assert_eq!(found.file.to_string(), "system_u:object_r:container_file_t:s0");
    let Support::On(Ok(found)) = read(host(&[("targeted/contexts/lxc_contexts", CONTEXTS)]).path()) else {
        panic!("the usual policy is not found")
    };
    assert_eq!(found.process.user, "system_u");
}

#[test]
fn a_policy_without_containers_refuses_labels_and_nothing_else() {
    let support = read(host(&[("config", "SELINUXTYPE=targeted\n")]).path());
    assert_eq!(policy(&support, None, "f").unwrap(), None);
    assert_eq!(policy(&support, Some(&SelinuxOptions::default()), "f").unwrap(), None);
    let refused = policy(&support, Some(&options("spc_t", "")), "f").unwrap_err().to_string();
    assert!(refused.starts_with("f: ") && refused.contains("lxc_contexts"), "{refused}");
    let broken = read(host(&[("targeted/contexts/lxc_contexts", "process = \"a:b\"\n")]).path());
    assert!(policy(&broken, Some(&options("", "s0")), "f").is_err());
    assert_eq!(policy(&Support::Off, Some(&options("spc_t", "")), "f").unwrap(), None, "of no meaning there");
}

#[test]
fn what_is_asked_for_goes_over_the_policy_and_the_level_over_both_labels() {
    let support = on();
    let policy = policy(&support, None, "f").unwrap().unwrap();
    let plain = labels(policy, None, "s0:c1,c2", true);
    assert_eq!(plain.process.as_deref(), Some("system_u:system_r:container_t:s0:c1,c2"));
    assert_eq!(plain.mount, "system_u:object_r:container_file_t:s0:c1,c2");
    let asked = labels(policy, Some(&options("my_t", "s0:c7,c9")), "s0:c1,c2", true);
    assert_eq!(asked.process.as_deref(), Some("system_u:system_r:my_t:s0:c7,c9"));
    assert_eq!(asked.mount, "system_u:object_r:container_file_t:s0:c7,c9");
    let free = labels(policy, None, "s0:c1,c2", false);
    assert_eq!((free.process, free.mount), (None, plain.mount));
    let named = labels(policy, Some(&options("spc_t", "")), "s0:c1,c2", false);
    assert_eq!(named.process.as_deref(), Some("system_u:system_r:spc_t:s0:c1,c2"));
}

#[test]
fn every_pod_has_a_level_of_its_own() {
    let levels = Levels::starting_at(u32::MAX - 1);
    let mut seen = BTreeSet::new();
    for _ in 0..3000 {
        assert!(seen.insert(levels.next(&BTreeSet::new()).unwrap()));
    }
    let levels = Levels::starting_at(0);
    let taken = BTreeSet::from(["s0:c0,c1", "s0:c0,c2"]);
    assert_eq!(levels.next(&taken).as_deref(), Some("s0:c0,c3"));
    assert_eq!((level(1022).as_str(), level(1023).as_str()), ("s0:c0,c1023", "s0:c1,c2"));
    assert_eq!(level(super::PAIRS - 1), "s0:c1022,c1023");
}

#[test]
fn labels_are_told_from_what_only_looks_like_one() {
    assert_eq!(Label::parse("a:b:c:s0-s0:c0.c1023").unwrap().level, "s0-s0:c0.c1023");
    assert_eq!(Label::parse("a:b:c").unwrap().to_string(), "a:b:c");
    assert!(Label::parse("a:b").is_none() && Label::parse("::c").is_none());
    assert!(check_options("f", Some(&options("container_t", "s0-s0:c0.c1023"))).is_ok());
    for (kind, level, field) in
        [("a:b", "", "f.type"), ("a b", "", "f.type"), ("", "s0\"", "f.level"), ("", "s0\0", "f.level")]
    {
        let refused = check_options("f", Some(&options(kind, level))).unwrap_err().to_string();
        assert!(refused.starts_with(field), "{refused}");
    }
}

#[test]
fn the_hosts_own_directories_are_not_relabelled() {
    for path in ["/", "/etc", "/usr", "/var/lib", "/proc/1", "/dev/shm"] {
        assert!(check_path("f", Path::new(path)).is_err(), "{path}");
    }
    for path in ["/var/lib/kubelet/pods/u/volumes/v", "/srv/data", "/etc/app"] {
        assert!(check_path("f", Path::new(path)).is_ok(), "{path}");
    }
}

#[test]
fn a_volume_is_labelled_with_all_in_it_and_nothing_beside_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP: a_volume_is_labelled_with_all_in_it_and_nothing_beside_it: needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (volume, beside) = (dir.path().join("volume"), dir.path().join("beside"));
    fs::create_dir_all(volume.join("a/b")).unwrap();
    fs::write(volume.join("a/b/file"), "").unwrap();
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("file"), "").unwrap();
    std::os::unix::fs::symlink(&beside, volume.join("a/out")).unwrap();
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let step = crate::host_files::Step::of_our_own("labelling", &volume);
    relabel(&volume, label, &step).unwrap();
    relabel(&volume, label, &step).expect("again");
    let seen = |path: &Path| {
        let mut value = [0; 256];
        let length = rustix::fs::lgetxattr(path, "security.selinux", &mut value).ok()?;
        Some(String::from_utf8_lossy(&value[..length]).trim_end_matches('\0').to_owned())
    };
    for path in ["", "a", "a/b", "a/b/file", "a/out"] {
        assert_eq!(seen(&volume.join(path)).as_deref(), Some(label), "{path}");
    }
    assert_eq!((seen(&beside), seen(&beside.join("file"))), (None, None));
}
