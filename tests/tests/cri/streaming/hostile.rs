//! Clients that mean harm, or are broken: they get an end, and nobody else notices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_tests::node::Node;
use linkspan_tests::streaming::{self, Answer, Channels, Frame, Spdy, Streams, ask, upgrade};
use linkspan_tests::{need, node, requests, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::{DEADLINE, V5, exec};

/// How many descriptors the daemon has open.
fn descriptors(node: &Node) -> Result<usize> {
    let pid = node.daemon_pid().context("a daemon")?;
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

async fn spdy(node: &mut Node, id: &str) -> Result<Answer> {
    let url = streaming::exec_url(&mut node.runtime, id, &["sleep", "6100"], Streams::ALL).await?;
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
    ];
    let answer = ask("POST", &url, &headers).await?;
    ensure!(answer.status == 101, "{}", answer.status);
    Ok(answer)
}

async fn websocket(node: &mut Node, id: &str) -> Result<Answer> {
    let url = streaming::exec_url(&mut node.runtime, id, &["sleep", "6100"], Streams::ALL).await?;
    let answer = upgrade(&url, &[V5]).await?;
    ensure!(answer.status == 101, "{}", answer.status);
    Ok(answer)
}

/// Says `bytes`, and waits until the server has ended the connection.
async fn ended_after(mut answer: Answer, bytes: &[u8], what: &str) -> Result<()> {
    // The server may end it before all is said.
    let _ = answer.connection.write_all(bytes).await;
    let mut sink = [0; 4096];
    let ended = async { while answer.connection.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(DEADLINE, ended).await.with_context(|| format!("{what}: the session goes on"))
}

/// Bytes without any sense, the same each time.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(bytes)
    .collect()
}

#[tokio::test]
async fn nonsense_after_the_upgrade_ends_the_session_and_nothing_else() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "noise"), &requests::idle("c")).await?;
        let mut other = exec(node, &id, &["cat"], Streams::ALL).await?;
        other.write("before\n").await?;
        other.expect("before\n").await?;
        let before = descriptors(node)?;
        // RFC 6455: a frame of a client that is not masked; reserved bits; an unknown opcode; a text that is none of
        // ours; a control frame that is too long; 2^62 bytes announced.
        let ping = [&[0x89, 0xfe, 0, 126, 1, 2, 3, 4][..], &[0; 126]].concat();
        let frames: [(&str, &[u8]); 6] = [
            ("not masked", &[0x82, 0x02, 0x00, b'x']),
            ("reserved bits", &[0xf2, 0x82, 1, 2, 3, 4, 0, 0]),
            ("unknown opcode", &[0x85, 0x82, 1, 2, 3, 4, 0, 0]),
            ("a continuation of nothing", &[0x80, 0x82, 1, 2, 3, 4, 0, 0]),
            ("a long ping", &ping),
            ("2^62 bytes", &[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        ];
        for (what, bytes) in frames {
            let answer = websocket(node, &id).await?;
            ended_after(answer, bytes, what).await?;
        }
        // SPDY/3.1: another version; a frame of 16 MiB; headers that are not compressed; an unknown control frame is
        // skipped, and what follows is not.
        let frames: [(&str, &[u8]); 4] = [
            ("version 9", &[0x80, 9, 0, 1, 0, 0, 0, 10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
            ("a SYN_STREAM of 16 MiB", &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff, 0, 0, 0, 1]),
            ("headers of noise", &[0x80, 3, 0, 1, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
            ("a SYN_STREAM of stream 0", &[0x80, 3, 0, 1, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ];
        for (what, bytes) in frames {
            let answer = spdy(node, &id).await?;
            ended_after(answer, bytes, what).await?;
        }
        for seed in 1..=20 {
            let (one, two) = (spdy(node, &id).await?, websocket(node, &id).await?);
            // Ends by itself, or with the connection: noise may look like the beginning of something long.
            for mut answer in [one, two] {
                let _ = answer.connection.write_all(&noise(seed, 20_000)).await;
                let _ = answer.connection.shutdown().await;
                ended_after(answer, &[], &format!("noise {seed}")).await?;
            }
        }
        other.write("after\n").await?;
        other.expect("after\n").await?;
        wait::until("descriptors as before", DEADLINE, async || {
            let now = descriptors(node)?;
            ensure!(now <= before, "{now} instead of {before}");
            Ok(())
        })
        .await?;
        super::processes(node, &id, "no command is left", |processes| !processes.contains("sleep 61"))
            .await?;
        Ok(())
    })
    .await;
}

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

/// Of the stream for errors of a forwarded connection.
fn headers(request: &str) -> [(&str, &str); 3] {
    [("streamtype", "error"), ("port", "80"), ("requestid", request)]
}

#[tokio::test]
async fn one_pod_takes_only_so_many_sessions_and_streams_and_others_still_get_theirs() {
    need!();
    node::run(async |node| {
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "greedy"), &requests::idle("c")).await?;
        let (_, other) = node.run_pod(&requests::sandbox(node, "modest"), &requests::idle("c")).await?;
        let mut sessions = Vec::new();
        let refused = loop {
            let url =
                streaming::exec_url(&mut node.runtime, &id, &["sleep", "6300"], Streams::OUTPUT).await?;
            let answer = upgrade(&url, &[V5]).await?;
            match answer.status {
                101 => sessions.push(answer),
                _ => break answer,
            }
            ensure!(sessions.len() < 200, "no end of sessions of one container");
        };
        ensure!(refused.status == 429 && sessions.len() >= 50, "{} after {}", refused.status, sessions.len());
        assert_eq!(exec(node, &other, &["true"], Streams::OUTPUT).await?.end().await?.exit_code(), Some(0));
        assert_eq!(node.output(&id, &["echo", "probed"]).await?, "probed");

        let url = streaming::port_forward_url(&mut node.runtime, &sandbox_id, &[]).await?;
        let mut session = Spdy::open(&url, "portforward.k8s.io").await?;
        let (long, fits) = ("r".repeat(257), "r".repeat(256));
        let stream = session.stream(&headers(&long)).await?;
        assert_eq!(session.next().await?, Some(Frame::Reset { stream }), "a request ID of 257 bytes");
        let stream = session.stream(&headers(&fits)).await?;
        assert_eq!(session.next().await?, Some(Frame::Reply { stream }), "a request ID of 256 bytes");
        let mut taken = 0;
        for number in 0..1000 {
            let request = number.to_string();
            let stream = session.stream(&headers(&request)).await?;
            match session.next().await? {
                Some(Frame::Reply { .. }) => taken += 1,
                Some(Frame::Reset { stream: refused }) if refused == stream => break,
                frame => anyhow::bail!("{frame:?}"),
            }
        }
        ensure!((100..1000).contains(&taken), "{taken} halves of connections are taken");
        Ok(())
    })
    .await;
}
