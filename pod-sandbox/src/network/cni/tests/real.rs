//! The plugins that everybody has: bridge, host-local, portmap, bandwidth. Needs root, the
//! plugins and iptables.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::fixture::Node;
use crate::network::netlink::{Socket, route};
use crate::network::testbed::{Pod, ask, interfaces, on_own_host, only, output};
use crate::network::{Network, Protocol, Readiness};

/// Where distributions and Kubernetes put them; `LINKSPAN_CNI_BIN` comes first if it is set.
const PLACES: [&str; 2] = ["/usr/lib/cni", "/opt/cni/bin"];

fn plugins() -> Option<PathBuf> {
    let needed = ["bridge", "host-local", "portmap", "bandwidth"];
    let all_there = |dir: &Path| needed.iter().all(|plugin| dir.join(plugin).is_file());
    let named = std::env::var_os("LINKSPAN_CNI_BIN").map(PathBuf::from);
    let place = named.into_iter().chain(PLACES.map(PathBuf::from)).find(|dir| all_there(dir));
    if place.is_none() {
        eprintln!("SKIP: needs the plugins {needed:?} in one of {PLACES:?}");
    } else if output("iptables", &["--version"]).is_none() {
        eprintln!("SKIP: needs iptables for portmap");
        return None;
    }
    place
}

/// A node whose list has the plugins, with host-local's state in its own directory.
async fn open(node: &Node, dir: PathBuf, ranges: &str) -> Network {
    open_version(node, dir, ranges, "1.0.0").await
}

async fn open_version(node: &Node, dir: PathBuf, ranges: &str, version: &str) -> Network {
    let state = node.path("host-local");
    node.conf(
        "10-pods.conflist",
        &format!(
            r#"{{"cniVersion":"{version}","name":"pods","plugins":[
                {{"type":"bridge","bridge":"cnitest0","isGateway":true,"ipMasq":true,"hairpinMode":true,
                  "ipam":{{"type":"host-local","dataDir":"{}","ranges":{ranges},
                           "routes":[{{"dst":"0.0.0.0/0"}}]}}}},
                {{"type":"portmap","capabilities":{{"portMappings":true}}}},
                {{"type":"bandwidth","capabilities":{{"bandwidth":true}}}}]}}"#,
            state.display()
        ),
    );
    let mut config = node.config();
    config.bin_dirs = vec![dir];
    Network::open(&config).await.unwrap()
}

fn limit_bandwidth(pod: &mut Pod) {
    for way in ["ingress", "egress"] {
        let limit = (format!("kubernetes.io/{way}-bandwidth"), "100M".to_owned());
        pod.attachment.annotations.extend([limit]);
    }
}

fn reserved(node: &Node) -> Vec<String> {
    let files = fs::read_dir(node.path("host-local/pods")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_digit())).collect()
}

#[test]
fn real_plugins_attach_and_leave_nothing() {
    on_own_host(|| async {
        let Some(dir) = plugins() else { return };
        let node = Node::new();
        let network = open(&node, dir, r#"[[{"subnet":"10.214.0.0/24"}]]"#).await;
        assert_eq!(network.readiness(), Readiness::Ready);
        let mut pod = Pod::new("web").await.port(Protocol::Tcp, 80, 8080, None);
        limit_bandwidth(&mut pod);
        let status = network.attach(&pod.attachment).await.unwrap();
        assert_eq!(status.ips[0].to_string(), "10.214.0.2");
        pod.serve(80, 3);
        assert_eq!(ask("10.214.0.2:80").unwrap(), "10.214.0.1");
        assert_eq!(ask("127.0.0.1:8080").unwrap(), "10.214.0.1");
        assert_eq!(pod.ask("10.214.0.1:8080").unwrap(), "10.214.0.1");
        network.detach(&pod.attachment).await.unwrap();
        let mut left = interfaces();
        left.retain(|name| name != "lo" && name != "cnitest0" && !name.starts_with("ifb"));
        assert_eq!(left, Vec::<String>::new());
        assert_eq!(reserved(&node), Vec::<String>::new());
        assert_eq!(node.cached(), Vec::<String>::new());
        assert!(ask("127.0.0.1:8080").is_err());
        // Twice is fine, as the specification asks of plugins.
        network.detach(&pod.attachment).await.unwrap();
    });
}

#[test]
fn real_plugins_release_addresses_when_namespace_and_configuration_are_gone() {
    on_own_host(|| async {
        let Some(dir) = plugins() else { return };
        let node = Node::new();
        let network = open(&node, dir, r#"[[{"subnet":"10.214.0.0/24"}]]"#).await;
        let (a, b) = (Pod::new("a").await, Pod::new("b").await);
        network.attach(&a.attachment).await.unwrap();
        network.attach(&b.attachment).await.unwrap();
        assert_eq!(reserved(&node).len(), 2);
        fs::remove_file(node.path("net.d/10-pods.conflist")).unwrap();
        a.unpin().await;
        network.detach(&a.attachment).await.unwrap();
        assert_eq!(reserved(&node), ["10.214.0.3"]);
        network.detach(&b.attachment).await.unwrap();
        assert_eq!(reserved(&node), Vec::<String>::new());
    });
}

#[test]
fn real_plugins_give_both_families() {
    on_own_host(|| async {
        let Some(dir) = plugins() else { return };
        let node = Node::new();
        let ranges = r#"[[{"subnet":"10.214.0.0/24"}],[{"subnet":"fd00:214::/64"}]]"#;
        let network = open(&node, dir, ranges).await;
        let mut pod = Pod::new("dual").await;
        // bandwidth's CHECK crashes without a limit, and portmap's misses IPv6 chains that it
        // never makes: a limit, and no ports.
        limit_bandwidth(&mut pod);
        let status = network.attach(&pod.attachment).await.unwrap();
        let ips: Vec<String> = status.ips.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.214.0.2", "fd00:214::2"]);
        network.check(&pod.attachment).await.unwrap();
        let links = route::links(&mut Socket::route_in(pod.netns()).unwrap()).unwrap();
        assert!(links.iter().any(|link| link.stats.name == "eth0" && link.kind == "veth"));
        network.detach(&pod.attachment).await.unwrap();
    });
}

#[test]
fn real_plugins_failing_add_gives_its_words_and_leaves_no_address() {
    on_own_host(|| async {
        let Some(dir) = plugins() else { return };
        let node = Node::new();
        let network = open(&node, dir, r#"[[{"subnet":"10.214.0.0/30"}]]"#).await;
        let (a, b) = (Pod::new("a").await, Pod::new("b").await);
        network.attach(&a.attachment).await.unwrap();
        let error = network.attach(&b.attachment).await.unwrap_err().to_string();
        assert!(error.starts_with(r#"cni network "pods", plugin "bridge", ADD: "#), "{error}");
        assert!(error.contains("no IP addresses available"), "{error}");
        assert_eq!(reserved(&node), ["10.214.0.2"]);
        assert_eq!(node.cached(), ["pods-a-eth0"]);
        network.detach(&a.attachment).await.unwrap();
    });
}

/// CNI 1.1: STATUS and GC. The plugins take GC and do nothing (1.9), so what was lost is found by
/// the cache.
#[test]
fn real_plugins_tell_their_status_and_collect_what_was_lost() {
    on_own_host(|| async {
        let Some(dir) = plugins() else { return };
        let versions = Command::new(dir.join("bridge")).env("CNI_COMMAND", "VERSION").output().unwrap();
        if !String::from_utf8_lossy(&versions.stdout).contains("1.1.0") {
            eprintln!("SKIP: the plugins in {} do not know CNI 1.1", dir.display());
            return;
        }
        let node = Node::new();
        let network = open_version(&node, dir, r#"[[{"subnet":"10.214.0.0/24"}]]"#, "1.1.0").await;
        assert_eq!(network.readiness(), Readiness::Ready);
        let (a, b) = (Pod::new("a").await, Pod::new("b").await);
        network.attach(&a.attachment).await.unwrap();
        network.attach(&b.attachment).await.unwrap();
        b.unpin().await;
        network.gc(only(&[&a.attachment.sandbox_id])).await.unwrap();
        assert_eq!(reserved(&node), ["10.214.0.2"]);
        network.detach(&a.attachment).await.unwrap();
    });
}
