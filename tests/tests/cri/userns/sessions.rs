//! Exec, attach, port-forward and streams in pods with users of their own.

use anyhow::{Context, Result};
use linkspan_tests::node::Node;
use linkspan_tests::streaming::{self, Channels, Forwarding, Streams};
use linkspan_tests::{http, need, node, requests, wait};

use super::{HANDLERS, HOST_ID, run_pod, sandbox};

const V5: &str = "v5.channel.k8s.io";

async fn exec(node: &mut Node, id: &str, command: &[&str], streams: Streams) -> Result<Channels> {
    let url = streaming::exec_url(&mut node.runtime, id, command, streams).await?;
    Channels::open(&url, V5).await
}

#[tokio::test]
async fn commands_have_pipes_and_terminals_that_are_theirs() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let (_, id) = run_pod(node, handler, &config).await?;
            let line = "cat; echo out >/dev/stdout; echo err >/dev/stderr; exit 4";
            let mut session = exec(node, &id, &["sh", "-c", line], Streams::ALL).await?;
            session.write("typed\n").await?;
            session.end_input().await?;
            let ended = session.end().await?;
            let told = (ended.stdout(), ended.stderr(), ended.exit_code());
            assert_eq!(told, ("typed\nout\n".to_owned(), "err\n".to_owned(), Some(4)), "{handler}");

            let line = "stat -c %u $(tty); echo more >$(tty); exit 3";
            let ended = exec(node, &id, &["sh", "-c", line], Streams::TERMINAL).await?.end().await?;
            assert_eq!((ended.stdout().as_str(), ended.exit_code()), ("0\r\nmore\r\n", Some(3)), "{handler}");
            let said = node.exec(&id, &["sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr"]).await?;
            assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("a\n", "b\n"), "{handler}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_of_another_user_opens_its_streams_by_name() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let line = "cat /dev/stdin >/dev/stdout; id -u >/dev/stderr";
            let mut container = requests::container("c", &["sh", "-c", line]);
            (container.stdin, container.stdin_once) = (true, true);
            requests::security(&mut container).run_as_user =
                Some(linkspan_cri_api::v1::Int64Value { value: 1234 });
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            let url = streaming::attach_url(&mut node.runtime, &id, Streams::ALL).await?;
            let mut attached = Channels::open(&url, V5).await?;
            attached.write("typed\n").await?;
            attached.end_input().await?;
            let ended = attached.end().await?;
            assert!(ended.stdout().contains("typed"), "{handler}: {}", ended.stdout());
            let mut lines: Vec<_> = node.logged(&id).await?.lines().map(str::to_owned).collect();
            lines.sort();
            assert_eq!(lines, ["1234", "typed"], "{handler}");

            let mut container = requests::container("tty", &["sh", "-c", "stat -c %u $(tty); id -u"]);
            container.tty = true;
            requests::security(&mut container).run_as_user =
                Some(linkspan_cri_api::v1::Int64Value { value: 1234 });
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            assert_eq!(node.logged(&id).await?.replace('\r', ""), "1234\n1234\n", "{handler}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_port_is_forwarded_into_the_pod() {
    need!(Crictl);
    node::run(async |node| {
        let config = sandbox(node, "served", HOST_ID);
        let sandbox_id = node.run_sandbox(&config, "").await?;
        let line = "mkdir /www; echo the page >/www/index.html; httpd -f -h /www -p 127.0.0.1:8080";
        let id =
            node.run_container(&sandbox_id, &requests::container("c", &["sh", "-c", line]), &config).await?;
        wait::until("the server listens", std::time::Duration::from_secs(30), async || {
            node.output(&id, &["sh", "-c", "netstat -ltn | grep :8080"]).await
        })
        .await?;
        let forwarding = Forwarding::start(node.crictl(), "websocket", &sandbox_id, 8080).await?;
        assert!(http::get(&forwarding.address).await?.contains("the page"));
        Ok(())
    })
    .await;
}
