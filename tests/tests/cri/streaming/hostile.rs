//! Clients that mean harm, or are broken: they get an end, and nobody else notices.

use std::time::Duration;

use linkspan_tests::streaming::{self, Channels, Streams};
use linkspan_tests::{need, node, requests};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::{V5, exec};

#[tokio::test]
async fn messages_of_the_wrong_kind_do_not_crash_a_session_or_its_neighbours() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "kinds"), &requests::idle("c")).await?;
        let messages = [
            Message::text("no binary"),
            Message::binary(vec![]),
            Message::binary(vec![255]),
            Message::binary(vec![255, 99]),
            Message::binary(vec![255, 1]),
            Message::binary([&[4][..], b"{\"Width\":\"wide\"}"].concat()),
            Message::binary([&[4][..], &[b'['; 100_000]].concat()),
            Message::binary(vec![0; 8 << 20]),
            Message::Ping(vec![1; 100].into()),
        ];
        for message in messages {
            let mut session = exec(node, &id, &["sh", "-c", "sleep 6200"], Streams::ALL).await?;
            session.sending.say(message).await?;
            session.cut()?;
        }
        for text in ["", "0", "0!!!!", "0YQ", "zYQ==", "\u{2603}"] {
            let url = streaming::exec_url(&mut node.runtime, &id, &["sleep", "6200"], Streams::ALL).await?;
            let mut session = Channels::open(&url, "v4.base64.channel.k8s.io").await?;
            session.sending.say(Message::text(text)).await?;
            session.cut()?;
        }
        super::processes(node, &id, "no command is left", |processes| !processes.contains("sleep 62"))
            .await?;
        assert_eq!(exec(node, &id, &["true"], Streams::OUTPUT).await?.end().await?.exit_code(), Some(0));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn many_half_open_connections_keep_nobody_out() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "idle"), &requests::idle("c")).await?;
        let url = streaming::exec_url(&mut node.runtime, &id, &["true"], Streams::OUTPUT).await?;
        let address = streaming::Url::parse(&url)?.address;
        let mut silent = Vec::new();
        for number in 0..200 {
            let mut connection = tokio::net::TcpStream::connect(&address).await?;
            if number % 2 == 0 {
                connection.write_all(b"GET /exec/").await?;
            }
            silent.push(connection);
        }
        let session = tokio::time::timeout(Duration::from_secs(20), Channels::open(&url, V5)).await??;
        assert_eq!(session.end().await?.exit_code(), Some(0));
        Ok(())
    })
    .await;
}
