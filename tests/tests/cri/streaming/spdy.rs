//! SPDY beyond what crictl asks of it: the older protocols, and sessions that go on after an error.

use std::collections::BTreeMap;

use anyhow::Context;
use linkspan_tests::streaming::{self, Frame, Spdy, Streams};
use linkspan_tests::{need, node, requests, wait};

use super::DEADLINE;

#[tokio::test]
async fn every_version_of_remote_command_tells_output_and_end() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "versions"), &requests::idle("c")).await?;
        let command = ["sh", "-c", "cat; echo err >&2; exit 3"];
        for protocol in ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"] {
            let url = streaming::exec_url(&mut node.runtime, &id, &command, Streams::ALL).await?;
            let mut session = Spdy::open(&url, protocol).await?;
            let mut streams = BTreeMap::new();
            for kind in ["error", "stdin", "stdout", "stderr"] {
                streams.insert(kind, session.stream(&[("streamtype", kind)]).await?);
            }
            session.send(streams["stdin"], b"one line\n", false).await?;
            session.send(streams["stdin"], b"and another\n", true).await?;
            let (out, err, status) = (streams["stdout"], streams["stderr"], streams["error"]);
            let ended = session.end(out, err, status).await.context(protocol)?;
            let told = (ended.stdout(), ended.stderr());
            assert_eq!(told, ("one line\nand another\n".to_owned(), "err\n".to_owned()), "{protocol}");
            match protocol {
                "v4.channel.k8s.io" => assert_eq!(ended.exit_code(), Some(3), "{}", ended.status),
                // The first version's error stream is of no use to clients: published servers reset it.
                "channel.k8s.io" => {}
                _ => assert!(ended.status.contains('3'), "{protocol}: {:?}", ended.status),
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_refused_port_and_a_reset_connection_leave_the_session_to_the_others() {
    need!();
    node::run(async |node| {
        // What a program leaves unread when it hangs up makes its end a reset.
        let line = "nc -lk -p 8081 -e dd bs=1 count=1 & mkdir /www; echo the page >/www/index.html
            exec httpd -f -h /www -p 127.0.0.1:8080";
        let sandbox = requests::sandbox(node, "forward");
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::container("c", &["sh", "-c", line])).await?;
        wait::until("the server listens", DEADLINE, async || {
            node.shell(&id, "netstat -ltn >/tmp/l; grep :8080 /tmp/l && grep :8081 /tmp/l").await
        })
        .await?;
        let url = streaming::port_forward_url(&mut node.runtime, &sandbox_id, &[]).await?;
        let mut session = Spdy::open(&url, "portforward.k8s.io").await?;
        for (request, port) in ["9", "8080", "8081", "8080", "9", "8081", "8080"].into_iter().enumerate() {
            let request = request.to_string();
            let headers = |kind| [("streamtype", kind), ("port", port), ("requestid", request.as_str())];
            let error = session.stream(&headers("error")).await?;
            session.send(error, b"", true).await?;
            let data = session.stream(&headers("data")).await?;
            session.send(data, b"GET / HTTP/1.0\r\n\r\n", true).await?;
            let (mut page, mut words) = (Vec::new(), Vec::new());
            let mut ended = 0;
            while ended < 2 {
                match session.next().await?.context("the session goes on")? {
                    Frame::Data { stream, bytes, end } => {
                        if stream == data {
                            page.extend(bytes)
                        } else {
                            words.extend(bytes)
                        }
                        ended += usize::from(end);
                    }
                    Frame::Reset { .. } => ended += 1,
                    Frame::Reply { .. } => {}
                    Frame::GoAway => anyhow::bail!("the session ended at request {request}"),
                }
            }
            let (page, words) = (String::from_utf8_lossy(&page), String::from_utf8_lossy(&words));
            match port {
                "9" => assert!(words.contains("refused") && page.is_empty(), "{words:?}, {page:?}"),
                "8081" => assert!(page.starts_with('G') && words.is_empty(), "{page:?}, {words:?}"),
                _ => assert!(page.contains("the page") && words.is_empty(), "{page:?}, {words:?}"),
            }
        }
        Ok(())
    })
    .await;
}
