//! A cache that other engines use too: what they wrote stays, and no plugin is told to take their attachments away.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fixture::{Node, attachment};
use crate::network::Network;
use crate::network::testbed::only;

const LIST: &str = r#"{"cniVersion":"1.1.0","name":"pods","plugins":[{"type":"one"}]}"#;

fn shared_node() -> Node {
    let node = Node::new();
    node.conf("10-pods.conflist", LIST);
    node.good_plugin("one", "1.1.0", "10.7.0.2/16");
    node
}

/// An entry as libcni writes it, for a namespace that is there.
fn foreign(network: &str, id: &str, interface: &str) -> Value {
    json!({
        "kind": "cniCacheV1", "containerId": id, "config": STANDARD.encode(LIST), "ifName": interface,
        "networkName": network, "netns": "/proc/self/ns/net", "cniArgs": [["IgnoreUnknown", "1"]],
        "result": {"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.9/16"}]},
    })
}

fn write(node: &Node, name: &str, content: &str) {
    fs::create_dir_all(node.path("cache/results")).unwrap();
    fs::write(node.path("cache/results").join(name), content).unwrap();
}

fn cached(node: &Node) -> Vec<String> {
    let mut names = node.cached();
    names.sort();
    names
}

/// `VERB plugin` of all calls that change something.
fn changes(node: &Node) -> Vec<String> {
    node.calls().into_iter().filter(|call| !call.starts_with("STATUS")).collect()
}

#[tokio::test]
async fn another_engines_attachment_stays_and_is_valid_for_gc() {
    let node = shared_node();
    write(&node, "pods-theirs-eth0", &foreign("pods", "theirs", "eth0").to_string());
    write(&node, "pods-theirs-eth1", &foreign("pods", "theirs", "eth1").to_string());
    // Its namespace is not to be seen from here: that says nothing about the pod.
    let mut unseen = foreign("pods", "unseen", "eth0");
    unseen["netns"] = "/var/run/netns/in-another-mount-namespace".into();
    write(&node, "pods-unseen-eth0", &unseen.to_string());
    write(&node, "other-theirs-eth0", &foreign("other", "theirs", "eth0").to_string());
    let before = cached(&node);

    node.open().await.gc(only(&["ours"])).await.unwrap();
    assert_eq!(changes(&node), ["GC one"], "no DEL");
    assert_eq!(cached(&node), before);
    let mut valid = node.given("GC", "one")["cni.dev/valid-attachments"].as_array().unwrap().clone();
    valid.sort_by_key(Value::to_string);
    let expected = [("ours", "eth0"), ("theirs", "eth0"), ("theirs", "eth1"), ("unseen", "eth0")];
    assert_eq!(valid, expected.map(|(id, name)| json!({"containerID": id, "ifname": name})));
}

#[tokio::test]
async fn of_two_daemons_each_collects_its_own() {
    let node = shared_node();
    let other = Network::open_for(&node.config(), Path::new("/srv/another")).await.unwrap();
    let ours = node.open().await;
    other.attach(&attachment("of-the-other")).await.unwrap();
    ours.attach(&attachment("of-us")).await.unwrap();
    ours.gc(only(&[])).await.unwrap();
    assert!(node.raw_calls().contains("DEL one id=of-us "));
    assert_eq!(cached(&node), ["pods-of-the-other-eth0"]);
    let valid = json!([{"containerID": "of-the-other", "ifname": "eth0"}]);
    assert_eq!(node.given("GC", "one")["cni.dev/valid-attachments"], valid);
    other.gc(only(&[])).await.unwrap();
    assert!(node.raw_calls().contains("DEL one id=of-the-other "));
    assert_eq!(cached(&node), [""; 0]);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_keeps_plugins_from_collecting() {
    let node = shared_node();
    let network = node.open().await;
    network.attach(&attachment("stale")).await.unwrap();
    // As libcni wrote it before there were cniCacheV1 entries: the result alone.
    write(&node, "pods-old-eth0", r#"{"cniVersion":"0.4.0","ips":[]}"#);
    write(&node, "elsewhere-old-eth0", "half of a fi");
    network.gc(only(&[])).await.unwrap();
    assert_eq!(changes(&node), ["ADD one", "DEL one"], "its own is collected all the same");
    assert_eq!(cached(&node), ["elsewhere-old-eth0", "pods-old-eth0"]);
    fs::remove_file(node.path("cache/results/pods-old-eth0")).unwrap();
    network.gc(only(&[])).await.unwrap();
    assert_eq!(changes(&node).last().unwrap(), "GC one", "another network's does not matter");
}

#[tokio::test]
async fn its_own_is_collected_whatever_the_network_is_called_by_now() {
    let node = shared_node();
    node.open().await.attach(&attachment("stale")).await.unwrap();
    node.conf("10-pods.conflist", &LIST.replace("pods", "renamed"));
    node.open().await.gc(only(&[])).await.unwrap();
    assert_eq!(changes(&node), ["ADD one", "DEL one", "GC one"]);
    assert_eq!(node.given("DEL", "one")["name"], "pods");
    assert_eq!(cached(&node), [""; 0]);

    node.open().await.attach(&attachment("stale")).await.unwrap();
    fs::remove_file(node.path("net.d/10-pods.conflist")).unwrap();
    node.open().await.gc(only(&[])).await.unwrap();
    assert_eq!(cached(&node), [""; 0], "without any configuration, too");
}

/// Written before entries were marked: the record says whose they are.
#[tokio::test]
async fn an_unmarked_entry_of_a_pod_with_a_record_is_its_own() {
    let node = shared_node();
    write(&node, "pods-ours-eth0", &foreign("pods", "ours", "eth0").to_string());
    let network = node.open().await;
    network.gc(only(&["ours"])).await.unwrap();
    let valid = json!([{"containerID": "ours", "ifname": "eth0"}]);
    assert_eq!(node.given("GC", "one")["cni.dev/valid-attachments"], valid);
    network.detach(&attachment("ours")).await.unwrap();
    assert_eq!(changes(&node), ["GC one", "DEL one"]);
    assert_eq!(node.given("DEL", "one")["prevResult"]["ips"][0]["address"], "10.7.0.9/16");
    assert_eq!(cached(&node), [""; 0]);
}

#[tokio::test]
async fn a_copy_of_an_own_entry_is_not_taken_for_it() {
    let node = shared_node();
    let network = node.open().await;
    network.attach(&attachment("ours")).await.unwrap();
    let entry = fs::read_to_string(node.path("cache/results/pods-ours-eth0")).unwrap();
    write(&node, "pods-kept-for-later", &entry.replace("\"ours\"", "\"kept\""));
    network.gc(only(&["ours"])).await.unwrap();
    assert_eq!(changes(&node), ["ADD one"]);
}
