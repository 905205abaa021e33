use std::path::PathBuf;

use linkspan_config::{Place, Sources, load};
use linkspan_pod_sandbox::network::Others;

use super::super::facts::engines::{Engine, Server};
use super::super::facts::{CgroupMounts, Runtime};
use super::*;

fn config() -> Config {
    let runtimes = vec![("crun".to_owned(), "/usr/bin/crun".into())];
    load(&Sources { place: Place::below("/nowhere"), runtimes, ..Sources::default() }).unwrap().config
}

/// A node as Kubernetes likes it.
fn good() -> Facts {
    let runtime = Runtime {
        path: "/usr/bin/crun".into(),
        version: Ok("crun version 1.21".into()),
        oci_version_max: Some("1.2.0".into()),
    };
    Facts {
        root: true,
        capabilities: u64::MAX,
        kernel: (6, 12),
        file_systems: vec!["overlay".into()],
        namespaces: ["mnt", "net", "ipc", "uts", "pid", "cgroup"].map(str::to_owned).to_vec(),
        max_user_namespaces: 1000,
        cgroups: CgroupMounts {
            v2: Some(("/sys/fs/cgroup".into(), ["cpu", "memory", "pids"].map(str::to_owned).to_vec())),
            v1: Vec::new(),
        },
        runtimes: [("crun".to_owned(), runtime)].into(),
        monitor: Some("/usr/bin/linkspan-monitor".into()),
        cni_files: vec!["/etc/cni/net.d/10.conflist".into()],
        ip_forward: true,
        clock_synchronised: Some(true),
        now_s: 1_800_000_000,
        lsm: "lockdown,apparmor".into(),
        has_apparmor_parser: true,
        open_files: Some(OpenFiles { soft: 1024, hard: 524_288 }),
        ..Facts::default()
    }
}

/// The findings that are not fine, after `change` of a good host.
fn check(change: impl FnOnce(&mut Facts)) -> Vec<(Level, String, Option<String>)> {
    let mut facts = good();
    change(&mut facts);
    let findings = judge(&config(), &facts).into_iter().filter(|finding| finding.level != Level::Fine);
    findings
        .map(|finding| (finding.level, format!("{}: {}", finding.subject, finding.text), finding.mend))
        .collect()
}

fn check_one(change: impl FnOnce(&mut Facts), level: Level, words: &str) {
    let found = check(change);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0 == level && found[0].1.contains(words) && found[0].2.is_some(), "{found:?}");
}

#[test]
fn a_good_host_has_nothing_to_mend() {
    assert_eq!(check(|_| {}), []);
}

#[test]
fn each_lack_is_named_with_a_way_to_mend_it() {
    check_one(|f| f.root = false, Level::Wrong, "not root");
    check_one(|f| f.kernel = (5, 4), Level::Wrong, "Linux 5.4");
    check_one(|f| f.kernel = (6, 1), Level::Warn, "Linux 6.1");
    check_one(|f| f.file_systems.clear(), Level::Wrong, "overlayfs");
    check_one(|f| f.namespaces.retain(|n| n != "ipc"), Level::Wrong, "missing: ipc");
    check_one(|f| f.capabilities &= !(1 << 24), Level::Warn, "CAP_SYS_RESOURCE");
    check_one(|f| f.cni_files.clear(), Level::Warn, "no CNI configuration in /nowhere/etc/cni/net.d");
    check_one(|f| drop(f.cni_plugins.insert("bridge".into(), None)), Level::Wrong, "plugin bridge");
    check_one(|f| f.now_s = 0, Level::Wrong, "never set");
    check_one(|f| f.monitor = None, Level::Wrong, "linkspan-monitor");
    check_one(|f| f.runtimes.clear(), Level::Wrong, "no OCI runtime");
    check_one(|f| f.ip_forward = false, Level::Warn, "forwarding");
    check_one(|f| f.lsm.clear(), Level::Warn, "AppArmor");
    check_one(|f| f.has_apparmor_parser = false, Level::Warn, "apparmor_parser");
    check_one(|f| f.bad_files.refusing.push("a.json: no hook".into()), Level::Wrong, "a.json");
    let few = OpenFiles { soft: 1024, hard: 4096 };
    check_one(|f| f.open_files = Some(few), Level::Warn, "up to 4096: many pods");
    check_one(|f| f.bad_files.cdi.push("gpu.yaml: no kind".into()), Level::Warn, "gpu.yaml");
}

#[test]
fn other_engines_are_named_with_what_follows() {
    let socket = PathBuf::from("/run/containerd/containerd.sock");
    let engine = Engine { name: "containerd", socket };
    check_one(|f| f.engines.running.push(engine), Level::Warn, "containerd listens on /run/containerd/");
    let server = || Some(Server { name: "containerd".into(), pid: 7 });
    check_one(|f| f.engines.on_cri_socket = server(), Level::Wrong, "containerd (process 7) listens on");
    check_one(|f| f.engines.on_nri_socket = server(), Level::Wrong, "NRI socket");
    check_one(
        |f| f.engines.bridge_is_there = true,
        Level::Warn,
        "then it stays as it is and pods are refused",
    );
    check_one(|f| f.engines.unreadable_cache = Some("denied".into()), Level::Warn, "denied");
}

#[test]
fn a_network_that_is_shared_should_forbid_gc() {
    let shared = |has_gc| {
        move |f: &mut Facts| {
            let attachments = [("pods".to_owned(), 12)].into();
            let unreadable = vec!["pods-old-eth0".into()];
            let collected = Some("pods".to_owned()).filter(|_| has_gc);
            f.engines.attachments = Others { attachments, unreadable, collected };
        }
    };
    assert_eq!(check(shared(false)), []);
    let found = check(shared(true));
    let said: Vec<_> = found.iter().map(|(level, text, _)| (*level, text.as_str())).collect();
    assert!(matches!(said[..], [(Level::Warn, _), (Level::Warn, _)]), "{said:?}");
    assert!(said[0].1.contains("the CNI network pods that are not of this daemon: 12"), "{said:?}");
    assert!(found[0].2.as_ref().unwrap().contains("disableGC"), "{found:?}");
    assert!(said[1].1.contains("pods-old-eth0"), "{said:?}");
    let of_another = |f: &mut Facts| {
        shared(true)(f);
        f.engines.attachments.collected = Some("another".into());
    };
    assert_eq!(check(of_another), []);
}

#[test]
fn crun_on_a_hybrid_host_with_v2_controllers_is_told_what_to_mount() {
    let found = check(|facts| {
        facts.cgroups = CgroupMounts {
            v2: Some(("/sys/fs/cgroup/unified".into(), vec!["hugetlb".into()])),
            v1: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
        };
    });
    let wrong: Vec<_> = found.iter().filter(|(level, ..)| *level == Level::Wrong).collect();
    assert_eq!(wrong.len(), 1, "{found:?}");
    assert!(wrong[0].2.as_ref().unwrap().contains("mount -t cgroup -o hugetlb"), "{found:?}");
}
