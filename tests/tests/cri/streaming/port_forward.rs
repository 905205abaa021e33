//! Port-forward: into the pod's network namespace, many connections at once.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::streaming::{self, Channels, Forwarding};
use linkspan_tests::{http, need, node, requests, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

use super::{DEADLINE, TRANSPORTS};

const V4: &str = "v4.channel.k8s.io";

/// Serves `/www` by busybox on one address only.
async fn serving(node: &mut Node, name: &str, address: &str) -> anyhow::Result<String> {
    let line = format!(
        "mkdir /www; echo page of {name} >/www/index.html; httpd -f -h /www -p {address} & \
         trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"
    );
    let sandbox = requests::sandbox(node, name);
    let (sandbox_id, id) = node.run_pod(&sandbox, &requests::container("c", &["sh", "-c", &line])).await?;
    wait::until("the server listens", DEADLINE, async || {
        node.output(&id, &["sh", "-c", "netstat -ltn | grep :8080"]).await
    })
    .await?;
    Ok(sandbox_id)
}

fn host_network(node: &Node, name: &str) -> v1::PodSandboxConfig {
    let mut config = requests::sandbox(node, name);
    let options = v1::NamespaceOption { network: v1::NamespaceMode::Node.into(), ..requests::namespaces() };
    config.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options = Some(options);
    config
}

#[tokio::test]
async fn a_server_on_either_loopback_address_is_reached() {
    need!(Crictl);
    node::run(async |node| {
        for (name, address) in [("v4", "127.0.0.1:8080"), ("v6", "[::1]:8080")] {
            let sandbox_id = serving(node, name, address).await?;
            for transport in TRANSPORTS {
                let forwarding = Forwarding::start(node.crictl(), transport, &sandbox_id, 8080).await?;
                let page = http::get(&forwarding.address).await?;
                assert!(page.contains(&format!("page of {name}")), "{transport}: {page}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_websocket_has_two_channels_for_each_port() {
    need!();
    node::run(async |node| {
        let sandbox_id = serving(node, "channels", "127.0.0.1:8080").await?;
        for protocol in [V4, "v4.base64.channel.k8s.io"] {
            let url = streaming::port_forward_url(&mut node.runtime, &sandbox_id, &[9, 8080]).await?;
            let mut session = Channels::open(&url, protocol).await?;
            let mut told: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            session.send(2, b"GET / HTTP/1.0\r\n\r\n").await?;
            while !String::from_utf8_lossy(told.get(&2).map_or(&[][..], Vec::as_slice)).contains("page of") {
                let (channel, bytes) = session.next().await?.context("the session goes on")?;
                told.entry(channel).or_default().extend(bytes);
            }
            // Each channel begins with its port; the first port's refusal is told on its error channel.
            while told.get(&1).is_none_or(|bytes| bytes.len() <= 2) {
                let (channel, bytes) = session.next().await?.context("the session goes on")?;
                told.entry(channel).or_default().extend(bytes);
            }
            for (channel, port) in [(0, 9_u16), (1, 9), (2, 8080), (3, 8080)] {
                assert_eq!(told[&channel][..2], port.to_le_bytes(), "{protocol}: channel {channel}");
            }
            let words = String::from_utf8_lossy(&told[&1][2..]).into_owned();
            assert!(words.contains('9'), "{protocol}: {words}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn crictl_is_told_of_a_refused_port_by_either_transport() {
    need!(Crictl);
    node::run(async |node| {
        let sandbox_id = node.run_sandbox(&requests::sandbox(node, "told"), "").await?;
        for transport in TRANSPORTS {
            let mut forwarding = Forwarding::start(node.crictl(), transport, &sandbox_id, 9).await?;
            let mut connection = TcpStream::connect(&forwarding.address).await?;
            let mut nothing = Vec::new();
            let _ = tokio::time::timeout(DEADLINE, connection.read_to_end(&mut nothing)).await?;
            assert!(nothing.is_empty(), "{transport}: {nothing:?}");
            // This client gives up at the first error.
            let words = forwarding.last_words().await?;
            assert!(
                words.contains("error occurred forwarding") && words.contains("refused"),
                "{transport}: {words}"
            );
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_port_is_an_error_of_its_own_and_the_session_goes_on() {
    need!();
    node::run(async |node| {
        let sandbox_id = serving(node, "refused", "127.0.0.1:8080").await?;
        let url = streaming::port_forward_url(&mut node.runtime, &sandbox_id, &[9, 8080]).await?;
        let mut session = Channels::open(&url, V4).await?;
        let mut refusal = Vec::new();
        while refusal.len() <= 2 {
            if let (1, bytes) = session.next().await?.context("the session goes on")? {
                refusal.extend(bytes);
            }
        }
        session.send(2, b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut page = String::new();
        while !page.contains("page of refused") {
            if let (2, bytes) = session.next().await?.context("the session goes on")? {
                page += &String::from_utf8_lossy(&bytes);
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_in_the_hosts_network_forwards_to_the_host_and_each_side_may_end_first() {
    need!(Crictl);
    node::run(async |node| {
        let sandbox_id = node.run_sandbox(&host_network(node, "host"), "").await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        for transport in TRANSPORTS {
            let forwarding = Forwarding::start(node.crictl(), transport, &sandbox_id, port).await?;
            let mut client = TcpStream::connect(&forwarding.address).await?;
            client.write_all(b"a question").await?;
            client.shutdown().await?;
            let (mut server, _) = tokio::time::timeout(DEADLINE, listener.accept()).await??;
            let mut question = String::new();
            tokio::time::timeout(DEADLINE, server.read_to_string(&mut question)).await??;
            assert_eq!(question, "a question", "{transport}");
            server.write_all(b"an answer after the end of the question").await?;
            drop(server);
            let mut answer = String::new();
            tokio::time::timeout(DEADLINE, client.read_to_string(&mut answer)).await??;
            assert_eq!(answer, "an answer after the end of the question", "{transport}");
            // A client that goes away is noticed by the server.
            let client = TcpStream::connect(&forwarding.address).await?;
            let (mut server, _) = tokio::time::timeout(DEADLINE, listener.accept()).await??;
            drop(client);
            let mut nothing = Vec::new();
            let _ = tokio::time::timeout(DEADLINE, server.read_to_end(&mut nothing)).await?;
            assert!(nothing.is_empty());
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn twenty_downloads_at_once_come_without_a_wrong_byte() {
    need!(Crictl);
    node::run(async |node| {
        let sandbox_id = node.run_sandbox(&host_network(node, "downloads"), "").await?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        // Each connection is answered with a megabyte that depends on what it asked for.
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let number = stream.read_u64().await?;
                    stream.write_all(&megabyte(number)).await
                });
            }
        });
        for transport in TRANSPORTS {
            let forwarding = Forwarding::start(node.crictl(), transport, &sandbox_id, port).await?;
            let downloads = (0..20).map(|number| {
                let address = &forwarding.address;
                async move {
                    let mut stream = TcpStream::connect(address).await?;
                    stream.write_u64(number).await?;
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).await?;
                    ensure!(bytes == megabyte(number), "download {number}: {} bytes", bytes.len());
                    anyhow::Ok(())
                }
            });
            let all = futures_util::future::join_all(downloads);
            for download in tokio::time::timeout(2 * DEADLINE, all).await? {
                download.with_context(|| format!("by {transport}"))?;
            }
        }
        server.abort();
        Ok(())
    })
    .await;
}

fn megabyte(number: u64) -> Vec<u8> {
    (0..(1_u64 << 17))
        .flat_map(|place| (place ^ number << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

#[tokio::test]
async fn only_a_ready_sandbox_is_forwarded_to_and_its_stop_ends_the_session() {
    need!();
    node::run(async |node| {
        let sandbox_id = serving(node, "stopped", "127.0.0.1:8080").await?;
        let url = streaming::port_forward_url(&mut node.runtime, &sandbox_id, &[8080]).await?;
        let mut session = Channels::open(&url, V4).await?;
        session.next().await?.context("the channel's port")?;
        node.stop_sandbox(&sandbox_id).await?;
        let ended = async { while let Ok(Some(_)) = session.next().await {} };
        tokio::time::timeout(DEADLINE, ended).await.context("the session outlives the sandbox")?;
        let refused = streaming::port_forward_url(&mut node.runtime, &sandbox_id, &[8080]).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        let refused =
            streaming::port_forward_url(&mut node.runtime, &"0".repeat(64), &[80]).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        let request = v1::PortForwardRequest { pod_sandbox_id: sandbox_id, port: vec![70_000] };
        let refused = node.runtime.port_forward(request).await.unwrap_err();
        assert!(matches!(refused.code(), Code::InvalidArgument | Code::FailedPrecondition), "{refused}");
        Ok(())
    })
    .await;
}
