//! Sysctl rules anywhere; real namespaces as root.

use std::fs;
use std::os::unix::fs::MetadataExt;

use tempfile::TempDir;

use super::*;
use crate::network::netlink;

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIP: needs root to make namespaces");
    }
    root
}

fn plan(dir: &TempDir) -> NamespacePlan {
    NamespacePlan {
        dir: dir.path().join("ns"),
        network: true,
        ipc: true,
        uts: true,
        ..NamespacePlan::default()
    }
}

fn refusal(name: &str, has_net: bool, has_ipc: bool) -> String {
    check_sysctl(name, has_net, has_ipc).map_or_else(|error| error.to_string(), |()| String::new())
}

#[test]
fn sysctls_of_the_pods_own_namespaces_are_allowed() {
    for name in ["net.core.somaxconn", "net/ipv4/ip_forward", "net.ipv4.conf.eth0/1.rp_filter"] {
        assert_eq!(refusal(name, true, false), "");
        assert!(refusal(name, false, true).contains("network namespace"), "{name}");
    }
    for name in ["kernel.shm_rmid_forced", "kernel.msgmax", "kernel.sem", "fs.mqueue.msg_max"] {
        assert_eq!(refusal(name, false, true), "");
        assert!(refusal(name, true, false).contains("IPC namespace"), "{name}");
    }
}

#[test]
fn sysctls_of_the_host_are_refused_by_name() {
    for name in [
        "vm.swappiness",
        "kernel.panic",
        "fs.file-max",
        "kernel.shm",
        "kernel.semaphore",
        "user.max_user_namespaces",
    ] {
        let message = refusal(name, true, true);
        assert_eq!(message, format!("sysctl {name:?}: is not kept per namespace and would change the host"));
    }
    assert!(refusal("kernel.hostname", true, true).contains("hostname"));
    for name in ["", "net", "net..core", "net/../kernel/panic", "net.ipv4.", "net/./x", "/net/core/somaxconn"]
    {
        assert_eq!(refusal(name, true, true), format!("sysctl {name:?}: not a sysctl's name"));
    }
}

#[tokio::test]
async fn a_user_namespace_owns_the_others_and_all_is_set_in_them() {
    if !is_root() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut plan = plan(&dir);
    plan.user = Some(IdMap { host_id: 300_000, length: 1_000 });
    plan.hostname = Some("web-0".to_owned());
    for (name, value) in [("net.ipv4.ip_unprivileged_port_start", "81"), ("kernel.msgmax", "12345")] {
        plan.sysctls.insert(name.to_owned(), value.to_owned());
    }
    let pinned = create(&plan).await.unwrap();
    let enter = |command: &str| {
        let mut nsenter = std::process::Command::new("nsenter");
        let option =
            |kind: &str, path: &Option<PathBuf>| format!("--{kind}={}", path.as_ref().unwrap().display());
        nsenter.args([option("user", &pinned.user), option("net", &pinned.network)]);
        nsenter.args([
            option("ipc", &pinned.ipc),
            option("uts", &pinned.uts),
            "sh".to_owned(),
            "-c".to_owned(),
        ]);
        let output = nsenter.arg(command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let told = enter("id -u; uname -n; cat /proc/sys/kernel/msgmax; tr -s ' ' </proc/self/uid_map");
    assert_eq!(told, "0\nweb-0\n12345\n 0 300000 1000\n");
    // Root in there owns the network: it may do what only its administrator may.
    enter("echo 82 >/proc/sys/net/ipv4/ip_unprivileged_port_start");
    unpin(&plan.dir).await.unwrap();
    assert!(!plan.dir.exists());
}

#[tokio::test]
async fn namespaces_are_pinned_with_everything_set() {
    if !is_root() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut plan = plan(&dir);
    plan.hostname = Some("web-0".to_owned());
    for (name, value) in [
        ("net.ipv4.ip_unprivileged_port_start", "81"),
        ("net/ipv4/conf/lo/rp_filter", "2"),
        ("kernel.msgmax", "12345"),
        ("net.ipv4.conf.eth0.rp_filter", "1"),
    ] {
        plan.sysctls.insert(name.to_owned(), value.to_owned());
    }
    let pinned = create(&plan).await.unwrap();
    let (net, ipc, uts) = (pinned.network.unwrap(), pinned.ipc.unwrap(), pinned.uts.unwrap());
    for (path, own) in [(&net, "net"), (&ipc, "ipc"), (&uts, "uts")] {
        let own = fs::metadata(format!("/proc/self/ns/{own}")).unwrap().ino();
        assert_ne!(fs::metadata(path).unwrap().ino(), own, "{path:?} is our own");
    }
    let seen = netlink::within(&net, || {
        let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap().trim().to_owned();
        (read("net/ipv4/ip_unprivileged_port_start"), read("net/ipv4/conf/lo/rp_filter"))
    });
    assert_eq!(seen.unwrap(), ("81".to_owned(), "2".to_owned()));
    let stats = interface_stats(&net).await.unwrap();
    assert_eq!(stats.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["lo"]);
    netlink::within(&net, || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"x", "127.0.0.1:9"))
        .unwrap()
        .expect("lo is up");
    assert!(interface_stats(&net).await.unwrap()[0].tx_bytes > 0);
    // eth0 never came: its sysctl is named.
    let error = apply_interface_sysctls(&net, &plan.sysctls).await.unwrap_err().to_string();
    assert!(error.starts_with("writing sysctl \"net.ipv4.conf.eth0.rp_filter\" = \"1\": "), "{error}");
    let mut hostname = std::process::Command::new("nsenter");
    hostname.arg(format!("--uts={}", uts.display())).arg("hostname");
    assert_eq!(String::from_utf8(hostname.output().unwrap().stdout).unwrap().trim(), "web-0");
    unpin(&plan.dir).await.unwrap();
    assert!(!plan.dir.exists());
    unpin(&plan.dir).await.unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(dir.path().to_str().unwrap()));
}

#[tokio::test]
async fn only_what_is_asked_for_is_made() {
    if !is_root() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let none = NamespacePlan { dir: dir.path().join("ns"), ..NamespacePlan::default() };
    assert_eq!(create(&none).await.unwrap(), Pinned::default());
    let ipc = NamespacePlan { ipc: true, ..none };
    let pinned = create(&ipc).await.unwrap();
    assert_eq!(pinned, Pinned { ipc: Some(ipc.dir.join("ipc")), ..Pinned::default() });
    unpin(&ipc.dir).await.unwrap();
}

#[tokio::test]
async fn a_failure_leaves_nothing_pinned() {
    if !is_root() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut bad = plan(&dir);
    bad.sysctls.insert("vm.swappiness".to_owned(), "1".to_owned());
    assert!(matches!(create(&bad).await.unwrap_err(), Error::Sysctl { .. }));
    assert!(!bad.dir.exists());
    let mut bad = plan(&dir);
    bad.sysctls.insert("net.ipv4.no_such_thing".to_owned(), "1".to_owned());
    let error = create(&bad).await.unwrap_err().to_string();
    assert!(error.contains("net.ipv4.no_such_thing"), "{error}");
    assert!(!bad.dir.exists());
}

#[tokio::test]
async fn pins_that_a_crash_left_are_replaced() {
    if !is_root() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let plan = plan(&dir);
    let first = create(&plan).await.unwrap();
    let inode = fs::metadata(first.network.as_ref().unwrap()).unwrap().ino();
    let second = create(&plan).await.unwrap();
    assert_ne!(fs::metadata(second.network.as_ref().unwrap()).unwrap().ino(), inode);
    unpin(&plan.dir).await.unwrap();
    assert!(!plan.dir.exists());
}
