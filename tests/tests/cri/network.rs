//! Pod networks by CNI plugins.

use std::time::Duration;

use anyhow::ensure;
use linkspan_cri_api::v1;
use linkspan_tests::node::Options;
use linkspan_tests::{http, need, node, requests, wait};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_host_reaches_a_server_by_pod_address_and_by_host_port() {
    need!();
    node::run(async |node| {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut sandbox = requests::sandbox(node, "web");
        sandbox.port_mappings = vec![v1::PortMapping {
            protocol: v1::Protocol::Tcp.into(),
            container_port: 80,
            host_port: port.into(),
            host_ip: String::new(),
        }];
        let mut config = requests::container("nginx", &[]);
        config.image = Some(requests::image(requests::NGINX));
        let (sandbox_id, _) = node.run_pod(&sandbox, &config).await?;
        let address = node.address(&sandbox_id).await?;
        for place in [format!("{address}:80"), format!("127.0.0.1:{port}")] {
            let answer = wait::until("nginx answers", DEADLINE, async || http::get(&place).await).await?;
            assert!(answer.contains("200 OK") && answer.contains("Welcome to nginx"), "{place}: {answer}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_has_an_address_of_each_family_and_a_loopback() {
    need!();
    node::run(async |node| {
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "dual"), &requests::idle("c")).await?;
        let network = node.sandbox_status(&sandbox_id).await?.network.unwrap();
        assert!(network.ip.starts_with("10.199."), "{network:?}");
        assert_eq!(network.additional_ips.len(), 1, "{network:?}");
        assert!(network.additional_ips[0].ip.starts_with("fd99:"), "{network:?}");
        let addresses = node.output(&id, &["ip", "addr"]).await?;
        for part in [&format!("{}/24", network.ip), "127.0.0.1/8", "::1/128", "eth0"] {
            assert!(addresses.contains(part), "{part} is not in {addresses}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn pods_reach_each_other() {
    need!();
    node::run(async |node| {
        let mut server = requests::container("server", &[]);
        server.image = Some(requests::image("registry.k8s.io/e2e-test-images/httpd:2.4.39-4"));
        let (sandbox_id, _) = node.run_pod(&requests::sandbox(node, "server"), &server).await?;
        let (_, client) = node.run_pod(&requests::sandbox(node, "client"), &requests::idle("client")).await?;
        let url = format!("http://{}/", node.address(&sandbox_id).await?);
        wait::until("the server answers", DEADLINE, async || {
            let page = node.output(&client, &["wget", "-q", "-O", "-", &url]).await?;
            ensure!(page.contains("It works!"), "{page}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn readiness_follows_the_configuration_and_pods_wait_for_it() {
    need!();
    let options = Options { network: false, ..Options::default() };
    node::with(options, async |node| {
        let ready = async |node: &mut node::Node| -> anyhow::Result<v1::RuntimeCondition> {
            let status =
                node.runtime.status(v1::StatusRequest::default()).await?.into_inner().status.unwrap();
            Ok(status.conditions.into_iter().find(|condition| condition.r#type == "NetworkReady").unwrap())
        };
        let condition = ready(node).await?;
        assert!(!condition.status);
        assert_eq!(condition.reason, "NetworkPluginNotReady", "{condition:?}");

        // A pod that is asked for now is not refused: it comes up once there is a network.
        let config = requests::sandbox(node, "early");
        let mut runtime = node.runtime.clone();
        let request = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        let early = tokio::spawn(async move { runtime.run_pod_sandbox(request).await });
        node.network.configure(&node.prefix().join("etc/cni/net.d"))?;
        wait::until("the network is ready", DEADLINE, async || {
            ensure!(ready(node).await?.status);
            Ok(())
        })
        .await?;
        let id = early.await??.into_inner().pod_sandbox_id;
        let address = node.address(&id).await?;
        assert!(node.network.contains(&address), "{address}");

        std::fs::remove_file(node.prefix().join("etc/cni/net.d/10-test.conflist"))?;
        wait::until("the network is no longer ready", DEADLINE, async || {
            ensure!(!ready(node).await?.status);
            Ok(())
        })
        .await?;
        // Its address is given back all the same.
        node.stop_sandbox(&id).await?;
        assert_eq!(node.network.addresses()?, Vec::<String>::new());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn stopping_a_sandbox_gives_its_addresses_back() {
    need!();
    node::run(async |node| {
        let id = node.run_sandbox(&requests::sandbox(node, "given"), "").await?;
        assert_eq!(node.network.addresses()?.len(), 2);
        assert_eq!(node.network.ports().len(), 1);
        node.stop_sandbox(&id).await?;
        assert_eq!(node.network.addresses()?, Vec::<String>::new());
        wait::until("the interface is gone", DEADLINE, async || {
            ensure!(node.network.ports().is_empty());
            Ok(())
        })
        .await
    })
    .await;
}

#[tokio::test]
async fn a_network_that_cannot_be_set_up_leaves_nothing() {
    need!();
    node::run(async |node| {
        let path = node.prefix().join("etc/cni/net.d/10-test.conflist");
        let good = std::fs::read_to_string(&path)?;
        // The last plugin does not exist: what the first has done must be undone.
        std::fs::write(&path, good.replace("\"portmap\"", "\"no-such-plugin\""))?;
        let request = v1::StatusRequest::default();
        node.runtime.status(request).await?;
        let refused = wait::until("the new configuration is read", DEADLINE, async || {
            match node.run_sandbox(&requests::sandbox(node, "bad"), "").await {
                Err(refused) => Ok(refused),
                Ok(id) => {
                    node.remove_sandbox(&id).await?;
                    anyhow::bail!("the old one was used")
                }
            }
        })
        .await?;
        assert!(refused.message().contains("no-such-plugin"), "{refused}");
        assert_eq!(node.network.addresses()?, Vec::<String>::new());
        std::fs::write(&path, good)?;
        wait::until("the name is free again", DEADLINE, async || {
            Ok(node.run_sandbox(&requests::sandbox(node, "bad"), "").await?)
        })
        .await?;
        // A plugin that is not there has not let go of anything: it is asked again once the list is another.
        let records = node.prefix().join("var/lib/linkspan/state/sandboxes");
        wait::until("the pod that failed is forgotten", DEADLINE, async || {
            anyhow::ensure!(std::fs::read_dir(&records)?.count() == 1, "its record is there");
            Ok(())
        })
        .await
    })
    .await;
}
