//! Readiness follows the directory and the plugins.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::fixture::{Node, attachment};
use crate::network::{Network, Readiness};

const LIST: &str = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"one"}]}"#;

async fn until(network: &Network, wanted: impl Fn(&Readiness) -> bool) -> Readiness {
    let poll = async {
        loop {
            let now = network.readiness();
            if wanted(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let Ok(reached) = tokio::time::timeout(Duration::from_secs(20), poll).await else {
        panic!("never came; now {:?}", network.readiness());
    };
    reached
}

fn message(readiness: &Readiness) -> &str {
    match readiness {
        Readiness::Ready => "",
        Readiness::NotReady { message, .. } => message,
    }
}

#[tokio::test]
async fn a_configuration_that_is_there_makes_the_network_ready_at_once() {
    let node = Node::new();
    node.conf("10-pods.conflist", LIST);
    node.good_plugin("one", "1.0.0", "10.7.0.2/16");
    assert_eq!(node.open().await.readiness(), Readiness::Ready);
}

#[tokio::test]
async fn readiness_follows_the_directory_even_one_that_comes_later() {
    let node = Node::new();
    fs::remove_dir(node.path("net.d")).unwrap();
    node.good_plugin("one", "1.0.0", "10.7.0.2/16");
    let mut config = node.config();
    config.conf_dir = node.path("etc/cni/net.d");
    let network = Network::open(&config).await.unwrap();
    let none = format!("no cni configuration in {}", config.conf_dir.display());
    assert_eq!(network.readiness(), Readiness::not_ready(none.clone()));
    for round in 0..2 {
        fs::create_dir_all(&config.conf_dir).unwrap();
        fs::write(config.conf_dir.join("10-pods.conflist"), LIST).unwrap();
        until(&network, |now| *now == Readiness::Ready).await;
        fs::remove_dir_all(if round == 0 { &config.conf_dir } else { Path::new("/nonexistent") }).ok();
        if round == 0 {
            until(&network, |now| message(now) == none).await;
        }
    }
}

#[tokio::test]
async fn a_broken_configuration_is_named() {
    let node = Node::new();
    node.conf("10-pods.conflist", "{");
    let network = node.open().await;
    let now = network.readiness();
    assert!(message(&now).contains("10-pods.conflist: EOF"), "{now:?}");
    assert!(matches!(now, Readiness::NotReady { reason: "NetworkPluginNotReady", .. }));
    assert_eq!(network.verbose()["rejected"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_missing_plugin_is_named_and_found_when_it_comes() {
    let node = Node::new();
    node.conf("10-pods.conflist", LIST);
    let network = node.open().await;
    let now = network.readiness();
    assert!(message(&now).starts_with("cni plugin \"one\" not found in "), "{now:?}");
    node.good_plugin("one", "1.0.0", "10.7.0.2/16");
    until(&network, |now| *now == Readiness::Ready).await;
}

#[tokio::test]
async fn status_of_the_plugins_decides_from_1_1_on() {
    let node = Node::new();
    node.conf("10-pods.conflist", &LIST.replace("1.0.0", "1.1.0"));
    let well = node.path("well");
    let refusal = r#"{"cniVersion":"1.1.0","code":50,"msg":"no agent"}"#;
    let body = format!(
        "[ $CNI_COMMAND = STATUS ] || exit 0\n[ -e {} ] || {{ echo '{refusal}'; exit 1; }}",
        well.display()
    );
    node.plugin("one", &body);
    let network = node.open().await;
    let now = network.readiness();
    assert_eq!(message(&now), r#"cni network "pods", plugin "one", STATUS: no agent (code 50)"#);
    assert_eq!(node.given("STATUS", "one")["name"], "pods");
    fs::write(well, "").unwrap();
    until(&network, |now| *now == Readiness::Ready).await;
}

#[tokio::test]
async fn several_versions_are_negotiated_with_the_plugins() {
    let node = Node::new();
    node.conf(
        "10-pods.conflist",
        r#"{"cniVersions":["0.4.0","1.0.0","1.1.0"],"name":"pods","plugins":[{"type":"one"}]}"#,
    );
    let answer = r#"{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}"#;
    let result = r#"{"cniVersion":"1.0.0","ips":[{"address":"10.7.0.2/16"}]}"#;
    node.plugin(
        "one",
        &format!("case $CNI_COMMAND in VERSION) echo '{answer}';; ADD) echo '{result}';; esac"),
    );
    let network = node.open().await;
    assert_eq!(network.readiness(), Readiness::Ready);
    network.attach(&attachment("s1")).await.unwrap();
    assert_eq!(node.given("ADD", "one")["cniVersion"], "1.0.0");
    assert_eq!(network.verbose()["config"]["cniVersion"], "1.0.0");
}

#[tokio::test]
async fn attach_waits_for_a_configuration() {
    let node = Node::new();
    node.good_plugin("one", "1.0.0", "10.7.0.2/16");
    let network = node.open().await;
    let a = attachment("s1");
    let attach = network.attach(&a);
    tokio::pin!(attach);
    let early = tokio::time::timeout(Duration::from_millis(50), &mut attach).await;
    assert!(early.is_err(), "nothing to attach to so far");
    node.conf("10-pods.conflist", LIST);
    assert_eq!(attach.await.unwrap().ips[0].to_string(), "10.7.0.2");
}

#[tokio::test]
async fn attach_without_a_configuration_ends_at_the_deadline() {
    let mut node = Node::new();
    node.add_timeout = Duration::from_millis(50);
    let error = node.open().await.attach(&attachment("s1")).await.unwrap_err().to_string();
    assert!(error.starts_with("network is not ready after "), "{error}");
    assert!(error.contains("no cni configuration in"), "{error}");
}
