//! ADD, DEL, CHECK and GC as plugins see them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::fixture::{Node, attachment};
use crate::network::testbed::only;
use crate::network::{Error, PortMapping, Protocol};

const CHAIN: &str = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[
    {"type":"one","key":"value"},
    {"type":"two","capabilities":{"portMappings":true,"mac":true}}]}"#;

fn chain() -> Node {
    let node = Node::new();
    node.conf("10-pods.conflist", CHAIN);
    node.good_plugin("one", "1.0.0", "10.7.0.2/16");
    node.good_plugin("two", "1.0.0", "10.7.0.3/16");
    node
}

#[tokio::test]
async fn add_runs_the_chain_and_hands_results_on() {
    let node = chain();
    let network = node.open().await;
    let mut a = attachment("s1");
    a.port_mappings =
        vec![PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port: 8080, host_ip: None }];
    let status = network.attach(&a).await.unwrap();
    assert_eq!(status.ips, ["10.7.0.3".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(status.network, "pods");
    assert_eq!(node.calls(), ["ADD one", "ADD two"]);
    assert_eq!(
        node.raw_calls().lines().next().unwrap(),
        "ADD one id=s1 if=eth0 netns=/proc/self/ns/net args=IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=s1;K8S_POD_UID=u-1"
    );
    // "one" declares no capability: it is told of none.
    let one = json!({"cniVersion": "1.0.0", "name": "pods", "type": "one", "key": "value"});
    assert_eq!(node.given("ADD", "one"), one);
    let two = node.given("ADD", "two");
    assert_eq!(two["prevResult"]["ips"][0]["address"], "10.7.0.2/16");
    let ports = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    assert_eq!(two["runtimeConfig"], ports);
    assert_eq!(node.cached(), ["pods-s1-eth0"]);
}

#[tokio::test]
async fn del_uses_what_add_used_in_reverse_order() {
    let node = chain();
    let network = node.open().await;
    network.attach(&attachment("s1")).await.unwrap();
    // Another configuration since, and the namespace gone: neither matters.
    fs::remove_file(node.path("net.d/10-pods.conflist")).unwrap();
    let mut a = attachment("s1");
    a.netns = PathBuf::from("/nonexistent");
    network.detach(&a).await.unwrap();
    assert_eq!(node.calls()[2..], ["DEL two", "DEL one"]);
    assert_eq!(node.given("DEL", "one")["prevResult"]["ips"][0]["address"], "10.7.0.3/16");
    assert_eq!(node.cached(), Vec::<String>::new());
}

#[tokio::test]
async fn del_with_a_vanished_namespace_names_none() {
    let node = chain();
    let network = node.open().await;
    let mut a = attachment("s1");
    let netns = node.path("netns");
    fs::write(&netns, "a file, not a namespace").unwrap();
    a.netns = netns;
    network.attach(&a).await.unwrap();
    network.detach(&a).await.unwrap();
    assert!(node.raw_calls().lines().nth(2).unwrap().starts_with("DEL two id=s1 if=eth0 netns= "));
}

#[tokio::test]
async fn del_goes_on_after_an_error_and_is_tried_again() {
    let node = chain();
    let network = node.open().await;
    network.attach(&attachment("s1")).await.unwrap();
    node.plugin("two", r#"echo '{"code":11,"msg":"try later"}'; exit 1"#);
    let error = network.detach(&attachment("s1")).await.unwrap_err();
    assert_eq!(error.to_string(), r#"cni network "pods", plugin "two", DEL: try later (code 11)"#);
    assert_eq!(node.calls()[2..], ["DEL two", "DEL one"]);
    assert_eq!(node.cached(), ["pods-s1-eth0"], "kept for the next attempt");
    node.good_plugin("two", "1.0.0", "10.7.0.3/16");
    network.detach(&attachment("s1")).await.unwrap();
    assert_eq!(node.cached(), Vec::<String>::new());
}

#[tokio::test]
async fn a_failed_add_is_undone_and_told_in_the_plugins_words() {
    let node = chain();
    node.plugin(
        "two",
        r#"[ $CNI_COMMAND = ADD ] || exit 0
echo "looked everywhere" >&2
echo '{"cniVersion":"1.0.0","code":7,"msg":"no pool","details":"eth9 is missing"}'
exit 1"#,
    );
    let network = node.open().await;
    let error = network.attach(&attachment("s1")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"cni network "pods", plugin "two", ADD: no pool; eth9 is missing (code 7), stderr: "looked everywhere""#
    );
    assert_eq!(node.calls(), ["ADD one", "ADD two", "DEL two", "DEL one"]);
    assert_eq!(node.cached(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plugin_that_dies_without_words_is_quoted() {
    let node = chain();
    node.plugin("one", "[ $CNI_COMMAND = ADD ] && { echo oops; kill -9 $$; }; exit 0");
    let error = node.open().await.attach(&attachment("s1")).await.unwrap_err().to_string();
    assert!(error.contains("signal: 9 (SIGKILL)") && error.contains("oops"), "{error}");
}

#[tokio::test]
async fn a_result_without_an_address_is_an_error() {
    let node = chain();
    node.plugin("two", r#"[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.0.0"}'; exit 0"#);
    let error = node.open().await.attach(&attachment("s1")).await.unwrap_err().to_string();
    assert!(error.ends_with(r#"network "pods" gave the pod no address"#), "{error}");
    assert_eq!(node.calls(), ["ADD one", "ADD two", "DEL two", "DEL one"]);
}

#[tokio::test]
async fn a_hanging_plugin_is_killed_with_its_children_at_the_deadline() {
    let mut node = chain();
    node.add_timeout = Duration::from_millis(700);
    let child = node.path("child");
    let hang = format!(
        "[ $CNI_COMMAND = ADD ] || exit 0\necho waiting >&2\nsleep 1000 &\necho $! > {}\nwait",
        child.display()
    );
    node.plugin("one", &hang);
    let begun = Instant::now();
    let error = node.open().await.attach(&attachment("s1")).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains(r#"plugin "one", ADD: no end after"#), "{message}");
    assert!(message.ends_with(r#"killed, stderr: "waiting""#), "{message}");
    assert!(begun.elapsed() < Duration::from_secs(15));
    let stat = fs::read_to_string(format!("/proc/{}/stat", fs::read_to_string(child).unwrap().trim()));
    // Dead, or dead and not yet reaped by its new parent.
    assert!(stat.is_err() || stat.unwrap().contains(") Z "), "the plugin's child lives on");
    assert_eq!(node.calls(), ["ADD one", "DEL two", "DEL one"]);
}

#[tokio::test]
async fn a_plugin_whose_child_keeps_the_pipes_open_is_not_waited_for() {
    let node = chain();
    let child = node.path("child");
    let body = format!(
        "[ $CNI_COMMAND = ADD ] || exit 0\nsleep 1000 & echo $! > {}\n\
         echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.7.0.9/16\"}}]}}'",
        child.display()
    );
    node.plugin("two", &body);
    let status = node.open().await.attach(&attachment("s1")).await;
    let pid = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    );
    assert_eq!(status.unwrap().ips[0].to_string(), "10.7.0.9");
}

#[tokio::test]
async fn an_abandoned_attach_is_undone() {
    let node = chain();
    let gate = node.path("gate");
    let body = format!(
        "[ $CNI_COMMAND = ADD ] || exit 0\nwhile [ ! -e {} ]; do sleep 0.01; done\n\
         echo '{{\"cniVersion\":\"1.0.0\",\"ips\":[{{\"address\":\"10.7.0.9/16\"}}]}}'",
        gate.display()
    );
    node.plugin("one", &body);
    let network = node.open().await;
    {
        let a = attachment("s1");
        let attach = network.attach(&a);
        tokio::pin!(attach);
        // Leave once the plugin runs.
        tokio::select! {
            _ = &mut attach => panic!("the plugin waits for the gate"),
            () = async { while node.calls().is_empty() { tokio::time::sleep(Duration::from_millis(2)).await } } => {}
        }
    }
    fs::write(gate, "").unwrap();
    // A detach waits for the abandoned attach and its undoing.
    network.detach(&attachment("s1")).await.unwrap();
    assert_eq!(node.calls()[..4], ["ADD one", "ADD two", "DEL two", "DEL one"]);
    assert_eq!(node.cached(), Vec::<String>::new());
}

#[tokio::test]
async fn a_result_in_another_version_is_converted_for_the_next_plugin() {
    let node = chain();
    let old = r#"{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.7.0.2/16"}]}"#;
    node.plugin("one", &format!("[ $CNI_COMMAND = ADD ] && echo '{old}'; exit 0"));
    node.open().await.attach(&attachment("s1")).await.unwrap();
    let given = &node.given("ADD", "two")["prevResult"];
    assert_eq!(*given, json!({"cniVersion": "1.0.0", "ips": [{"address": "10.7.0.2/16"}]}));
}

#[tokio::test]
async fn del_before_0_4_0_has_no_result_and_check_does_nothing() {
    let node = chain();
    node.conf("10-pods.conflist", &CHAIN.replace("1.0.0", "0.3.1"));
    node.good_plugin("two", "0.3.1", "10.7.0.3/16");
    let network = node.open().await;
    network.attach(&attachment("s1")).await.unwrap();
    network.check(&attachment("s1")).await.unwrap();
    network.detach(&attachment("s1")).await.unwrap();
    assert_eq!(node.calls(), ["ADD one", "ADD two", "DEL two", "DEL one"]);
    assert!(node.given("DEL", "one").get("prevResult").is_none());
}

#[tokio::test]
async fn check_runs_in_order_with_the_result() {
    let node = chain();
    let network = node.open().await;
    let error = network.check(&attachment("s1")).await.unwrap_err().to_string();
    assert_eq!(error, "network of pod web: is not attached to any network");
    network.attach(&attachment("s1")).await.unwrap();
    network.check(&attachment("s1")).await.unwrap();
    assert_eq!(node.calls()[2..], ["CHECK one", "CHECK two"]);
    assert_eq!(node.given("CHECK", "one")["prevResult"]["ips"][0]["address"], "10.7.0.3/16");
}

#[tokio::test]
async fn detach_of_what_was_never_attached_runs_the_present_list() {
    let node = chain();
    node.open().await.detach(&attachment("s1")).await.unwrap();
    assert_eq!(node.calls(), ["DEL two", "DEL one"]);
    let empty = Node::new();
    empty.open().await.detach(&attachment("s1")).await.unwrap();
}

#[tokio::test]
async fn gc_deletes_stale_attachments_and_tells_plugins_the_valid_ones() {
    let node = chain();
    node.conf("10-pods.conflist", &CHAIN.replace("1.0.0", "1.1.0"));
    node.good_plugin("one", "1.1.0", "10.7.0.2/16");
    node.good_plugin("two", "1.1.0", "10.7.0.3/16");
    let network = node.open().await;
    network.attach(&attachment("alive")).await.unwrap();
    network.attach(&attachment("stale")).await.unwrap();
    network.gc(only(&["alive"])).await.unwrap();
    let calls: Vec<String> = node.calls().into_iter().filter(|call| !call.starts_with("STATUS")).collect();
    assert_eq!(calls[4..], ["DEL two", "DEL one", "GC one", "GC two"]);
    assert!(node.raw_calls().contains("DEL two id=stale"));
    let valid = json!([{"containerID": "alive", "ifname": "eth0"}]);
    assert_eq!(node.given("GC", "two")["cni.dev/valid-attachments"], valid);
    assert_eq!(node.cached(), ["pods-alive-eth0"]);
}

#[tokio::test]
async fn pod_ranges_reach_plugins_that_want_them() {
    let node = chain();
    node.conf("10-pods.conflist", &CHAIN.replace("\"mac\"", "\"ipRanges\""));
    let network = node.open().await;
    network.set_pod_cidr("10.9.0.0/24").await.unwrap();
    network.set_pod_cidr("10.1.0.0/24, fd00:1::/64").await.unwrap();
    network.attach(&attachment("s1")).await.unwrap();
    let ranges = json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1::/64"}]]);
    assert_eq!(node.given("ADD", "two")["runtimeConfig"]["ipRanges"], ranges);
    // The kubelet tells them once, whatever becomes of the daemon.
    drop(network);
    node.open().await.attach(&attachment("s2")).await.unwrap();
    assert_eq!(node.given("ADD", "two")["runtimeConfig"]["ipRanges"], ranges);
}
