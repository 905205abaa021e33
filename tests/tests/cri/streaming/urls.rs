//! The URLs: for one use, by one request, and by nobody who has to guess.

use std::time::Duration;

use anyhow::Context;
use linkspan_cri_api::v1;
use linkspan_tests::streaming::{self, Channels, Streams, Url, ask, upgrade};
use linkspan_tests::{need, node, requests};
use tokio::io::AsyncReadExt;

use super::V5;

#[tokio::test]
async fn a_url_is_for_one_use() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "once"), &requests::idle("c")).await?;
        let command = ["sh", "-c", "echo used >>/tmp/used"];
        let url = streaming::exec_url(&mut node.runtime, &id, &command, Streams::OUTPUT).await?;
        assert_eq!(Channels::open(&url, V5).await?.end().await?.exit_code(), Some(0));
        let again = upgrade(&url, &[V5]).await?;
        assert_eq!(again.status, 404, "{:?}", again.headers);
        assert_eq!(node.output(&id, &["cat", "/tmp/used"]).await?, "used");
        let other = streaming::exec_url(&mut node.runtime, &id, &command, Streams::OUTPUT).await?;
        assert_ne!(url, other);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn of_twenty_that_use_a_url_at_once_one_gets_in() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "race"), &requests::idle("c")).await?;
        let url = streaming::exec_url(&mut node.runtime, &id, &["true"], Streams::OUTPUT).await?;
        let answers = futures_util::future::join_all((0..20).map(|_| upgrade(&url, &[V5]))).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.as_ref().unwrap().status).collect();
        statuses.sort();
        assert_eq!((statuses[0], statuses[1], statuses[19]), (101, 404, 404), "{statuses:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_no_url_of_ours_is_not_found() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "wrong"), &requests::idle("c")).await?;
        let url = streaming::exec_url(&mut node.runtime, &id, &["true"], Streams::OUTPUT).await?;
        let token = url.rsplit('/').next().unwrap();
        assert!(token.len() >= 16, "a token that can be guessed: {token}");
        let address = Url::parse(&url)?.address;
        let paths = [
            "/".to_owned(),
            "/exec/".into(),
            "/exec/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".into(),
            format!("/exec/{}", &token[..token.len() - 1]),
            format!("/exec/{token}x"),
            format!("/exec/{token}/more"),
            format!("/{token}"),
            format!("/{}", "a".repeat(5000)),
        ];
        for path in &paths {
            let answer = upgrade(&format!("http://{address}{path}"), &[V5]).await?;
            assert_eq!(answer.status, 404, "{path}");
        }
        // The one that was asked for is still good.
        assert_eq!(Channels::open(&url, V5).await?.end().await?.exit_code(), Some(0));
        // Of one kind is not of another.
        let url = streaming::exec_url(&mut node.runtime, &id, &["true"], Streams::OUTPUT).await?;
        assert_eq!(upgrade(&url.replace("/exec/", "/attach/"), &[V5]).await?.status, 404);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_request_that_cannot_be_served_is_answered_with_a_reason() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "reasons"), &requests::idle("c")).await?;
        let websocket = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let version = ("Sec-WebSocket-Version", "13");
        let unknown = [&websocket[..], &[version, ("Sec-WebSocket-Protocol", "v99.channel.k8s.io")]].concat();
        let no_version = websocket.to_vec();
        let no_key = [websocket[0], websocket[1], version].to_vec();
        let spdy = [("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")];
        let spdy_unknown = [&spdy[..], &[("X-Stream-Protocol-Version", "v99.channel.k8s.io")]].concat();
        for (method, headers, statuses) in [
            ("GET", vec![], 400..=426),
            ("POST", vec![], 400..=426),
            ("GET", vec![("Connection", "Upgrade"), ("Upgrade", "h2c")], 400..=426),
            ("GET", unknown, 400..=403),
            ("GET", no_version, 400..=426),
            ("GET", no_key, 400..=400),
            ("POST", spdy.to_vec(), 400..=403),
            ("POST", spdy_unknown, 403..=403),
        ] {
            let url = streaming::exec_url(&mut node.runtime, &id, &["true"], Streams::OUTPUT).await?;
            let mut answer = ask(method, &url, &headers).await?;
            assert!(statuses.contains(&answer.status), "{method} {headers:?}: {}", answer.status);
            let length: usize = answer.header("content-length").unwrap_or("0").parse()?;
            while answer.rest.len() < length {
                assert_ne!(
                    answer.connection.read_buf(&mut answer.rest).await?,
                    0,
                    "a body that is cut short"
                );
            }
            assert!(!answer.rest.is_empty(), "{method} {headers:?}: no word of why");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn urls_that_nobody_uses_are_bounded_and_expire() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "many"), &requests::idle("c")).await?;
        let request = v1::ExecRequest {
            container_id: id.clone(),
            cmd: vec!["true".into()],
            stdout: true,
            ..Default::default()
        };
        let first = node.runtime.exec(request.clone()).await?.into_inner().url;
        let mut given = 1;
        let refused = loop {
            match node.runtime.exec(request.clone()).await {
                Ok(_) => given += 1,
                Err(refused) => break refused,
            }
            assert!(given < 5000, "no end of URLs");
        };
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "after {given}: {refused}");
        assert!(given >= 50, "{given} only");
        // Of one container: another has its own.
        let (_, other) = node.run_pod(&requests::sandbox(node, "other"), &requests::idle("c")).await?;
        let request_of_other = v1::ExecRequest { container_id: other, ..request.clone() };
        node.runtime.exec(request_of_other).await.context("a URL of another container")?;
        // Each that is used makes room for another, and so does time.
        Channels::open(&first, V5).await?.end().await?;
        node.runtime.exec(request.clone()).await?;
        linkspan_tests::wait::until("unused URLs expire", Duration::from_secs(120), async || {
            Ok(node.runtime.exec(request.clone()).await?)
        })
        .await?;
        Ok(())
    })
    .await;
}
