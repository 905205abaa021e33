use super::super::fixture::of_files;
use super::super::layout::Hierarchy;
use super::*;
use crate::spec::HugepageLimit;
use std::fs;

/// Applies to a group of plain files on v2, and returns the named file's content.
fn applied(before: &[(&str, &str)], wanted: &Resources) -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("g")).unwrap();
    for (name, text) in before {
        fs::write(dir.path().join("g").join(name), text).unwrap();
    }
    let hierarchies = vec![Hierarchy { mount: dir.path().to_owned(), controllers: Vec::new() }];
    let layout = Layout { mode: CgroupMode::V2, hierarchies, unified: None };
    apply(&layout, Support { swap: true, hugetlb: true }, Path::new("g"), wanted).unwrap();
    (dir, layout)
}

#[test]
fn v2_limits_are_written_in_its_own_words_and_read_back() {
    let wanted = Resources {
        cpu_quota: 20_000,
        cpu_shares: 1024,
        memory_limit_bytes: 1 << 20,
        memory_swap_limit_bytes: 3 << 20,
        pids_limit: -1,
        unified: [("memory.high".to_owned(), "77".to_owned())].into(),
        ..Resources::default()
    };
    let files = ["cpu.weight", "memory.max", "memory.swap.max", "pids.max", "memory.high"];
    let mut before = files.map(|name| (name, "")).to_vec();
    before.push(("cpu.max", "max 50000"));
    let (dir, layout) = applied(&before, &wanted);
    let file = |name: &str| fs::read_to_string(dir.path().join("g").join(name)).unwrap();
    assert_eq!((file("cpu.max").as_str(), file("cpu.weight").as_str()), ("20000 50000", "39"));
    assert_eq!((file("memory.swap.max").as_str(), file("pids.max").as_str()), ("2097152", "max"));
    assert_eq!(file("memory.high"), "77");
    let back = read(&layout, Path::new("g"));
    assert_eq!((back.cpu_quota, back.cpu_period, back.pids_limit), (20_000, 50_000, -1));
    assert_eq!((back.memory_limit_bytes, back.memory_swap_limit_bytes), (1 << 20, 3 << 20));
}

#[test]
fn a_swap_limit_below_the_memory_limit_is_no_leave_to_swap_without_end() {
    let wanted =
        Resources { memory_limit_bytes: 72 << 20, memory_swap_limit_bytes: 64 << 20, ..Resources::default() };
    let files = [("memory.max", "max"), ("memory.swap.max", "0")];
    of_files(CgroupMode::V2, &[], &files, |layout, below| {
        let support = Support { swap: true, hugetlb: true };
        let error = apply(layout, support, below, &wanted).unwrap_err().to_string();
        assert!(error.starts_with("memory_swap_limit_in_bytes: 67108864 is less than"), "{error}");
        let swap = layout.dir("", below).unwrap().join("memory.swap.max");
        assert_eq!(fs::read_to_string(swap).unwrap(), "0");
    });
}

#[test]
fn a_limit_that_the_host_cannot_set_is_refused_and_makes_no_file() {
    let wanted = Resources { pids_limit: 64, ..Resources::default() };
    let reason = |mode: CgroupMode, controllers: &[&str]| {
        of_files(mode, controllers, &[], |layout, below| {
            let error = apply(layout, Support::default(), below, &wanted).unwrap_err();
            let made = layout.dirs(below).flat_map(|dir| fs::read_dir(dir).unwrap()).count();
            assert_eq!((made, Path::new("pids.max").exists()), (0, false));
            error.to_string()
        })
    };
    let expected = "setting pids.max of cgroup g: the host has no cgroup controller pids";
    assert_eq!(reason(CgroupMode::V1, &["cpu", "memory"]), expected);
    for (mode, controllers) in [(CgroupMode::V1, &["pids"][..]), (CgroupMode::V2, &[])] {
        let error = reason(mode, controllers);
        assert!(error.contains("/g/pids.max: No such file"), "{error}");
    }
}

/// Fails at the last file, which is missing.
fn refused(mode: CgroupMode, controllers: &[&str], before: &[(&str, &str)], wanted: &Resources) {
    of_files(mode, controllers, before, |layout, below| {
        let support = Support { swap: true, hugetlb: true };
        let error = apply(layout, support, below, wanted).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        for (name, value) in before {
            assert_eq!(text(layout.dir("memory", below).as_deref(), name), *value, "{name}");
        }
    });
}

#[test]
fn a_refused_limit_leaves_all_others_as_they_were() {
    let huge = |page_size: &str, limit_bytes| HugepageLimit { page_size: page_size.to_owned(), limit_bytes };
    let unified = [("memory.high", "77"), ("missing", "1")];
    let wanted = Resources {
        cpu_quota: 20_000,
        memory_limit_bytes: 64 << 20,
        memory_swap_limit_bytes: 64 << 20,
        cpuset_cpus: "0".to_owned(),
        hugepage_limits: vec![huge("2MB", 4 << 20)],
        unified: unified.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Resources::default()
    };
    let v2 = [
        ("cpu.max", "max 50000"),
        ("memory.max", "max"),
        ("memory.swap.max", "4096"),
        ("cpuset.cpus", ""),
        ("hugetlb.2MB.max", "2097152"),
        ("memory.high", "max"),
    ];
    refused(CgroupMode::V2, &[], &v2, &wanted);

    let v1 = [("cpu.cfs_quota_us", "-1"), ("cpuset.cpus", "0-1"), ("hugetlb.2MB.limit_in_bytes", "2097152")];
    let hugepage_limits = vec![huge("2MB", 0), huge("missing", 0)];
    let wanted = Resources { hugepage_limits, unified: [].into(), ..wanted };
    refused(CgroupMode::V1, &["cpu", "cpuset", "hugetlb", "memory"], &v1, &wanted);
}

#[test]
fn weights_and_shares_meet_at_both_ends() {
    assert_eq!((weight_of_shares(2), weight_of_shares(1024), weight_of_shares(1 << 30)), (1, 39, 10_000));
    assert_eq!((shares_of_weight(1), shares_of_weight(10_000)), (2, 262_144));
}
