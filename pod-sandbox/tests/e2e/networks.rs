//! Pods with a network of their own, by the built-in bridge.

use linkspan_pod_sandbox::model::{NamespaceMode, SandboxConfig};

use crate::node::{Node, node};

fn networked(node: &Node, name: &str) -> SandboxConfig {
    let mut config = node.sandbox_config(name);
    config.linux.security_context.namespace_options.network = NamespaceMode::Pod;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_a_pod_share_its_address() {
    let node = node!();
    let sandbox = node.pods.run_sandbox(networked(&node, "net"), "").await.unwrap();
    let status = node.pods.sandbox_status(sandbox.as_str()).unwrap();
    let address = status.ips.first().expect("a pod with a network has an address").to_string();
    for name in ["one", "other"] {
        let mut config = node.container_config(name, "exec sleep 3600");
        config.linux.security_context.namespace_options.network = NamespaceMode::Pod;
        let id = node.started(&sandbox, config).await;
        assert!(node.exec(&id, "ip addr show eth0").await.contains(&address));
    }
    let stats = node.pods.sandbox_stats(sandbox.as_str()).await.unwrap();
    assert_eq!(
        stats.interfaces.iter().map(|interface| interface.name.as_str()).collect::<Vec<_>>(),
        ["eth0"]
    );
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_given_again_after_its_pod() {
    let node = node!();
    for attempt in 0..4 {
        let mut config = networked(&node, "again");
        config.metadata.attempt = attempt;
        let sandbox = node.pods.run_sandbox(config, "").await.unwrap();
        assert_eq!(node.pods.sandbox_status(sandbox.as_str()).unwrap().ips.len(), 1);
        node.pods.stop_sandbox(sandbox.as_str(), None).await.unwrap();
        node.pods.remove_sandbox(sandbox.as_str()).await.unwrap();
    }
    node.end().await;
}
