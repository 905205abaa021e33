//! Exec: streams, exit codes, ends of input.

use linkspan_tests::streaming::{self, Channels, Streams, channel};
use linkspan_tests::{need, node, requests};
use sha2::{Digest, Sha256};
use tonic::Code;

use super::{TRANSPORTS, V5, crictl, exec};

#[tokio::test]
async fn crictl_gets_both_streams_and_the_exit_code_by_either_transport() {
    need!(Crictl);
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "crictl"), &requests::idle("c")).await?;
        for transport in TRANSPORTS {
            for code in [0, 3, 130] {
                let line = format!("echo out; echo err >&2; exit {code}");
                let told =
                    crictl(node, &["exec", "--transport", transport, &id, "sh", "-c", &line], vec![]).await?;
                assert_eq!(String::from_utf8_lossy(&told.stdout), "out\n", "{transport}: {}", told.stderr);
                assert!(told.stderr.starts_with("err\n"), "{transport}: {}", told.stderr);
                assert_eq!(told.success, code == 0, "{transport}: {}", told.stderr);
                let words = format!("exit code {code}");
                assert!(code == 0 || told.stderr.contains(&words), "{transport}: {}", told.stderr);
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn every_version_of_the_websocket_protocol_tells_output_and_end() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "versions"), &requests::idle("c")).await?;
        let command = ["sh", "-c", "head -n 1; echo err >&2; exit 3"];
        for protocol in [
            V5,
            "v4.channel.k8s.io",
            "v4.base64.channel.k8s.io",
            "v3.channel.k8s.io",
            "v3.base64.channel.k8s.io",
            "v2.channel.k8s.io",
            "v2.base64.channel.k8s.io",
            "channel.k8s.io",
            "base64.channel.k8s.io",
            "",
        ] {
            let url = streaming::exec_url(&mut node.runtime, &id, &command, Streams::ALL).await?;
            let mut session = Channels::open(&url, protocol).await?;
            session.write("\u{e4}nd so on\n").await?;
            let ended = session.end().await.map_err(|error| error.context(format!("with {protocol:?}")))?;
            let told = (ended.stdout(), ended.stderr());
            assert_eq!(told, ("\u{e4}nd so on\n".to_owned(), "err\n".to_owned()), "{protocol}");
            match protocol.starts_with("v4") || protocol.starts_with("v5") {
                true => assert_eq!(ended.exit_code(), Some(3), "{protocol}: {}", ended.status),
                false => assert!(ended.status.contains('3'), "{protocol}: {:?}", ended.status),
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_command_that_succeeds_says_success_and_one_ended_by_a_signal_says_which() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "codes"), &requests::idle("c")).await?;
        for (line, code) in [("true", 0), ("exit 255", 255), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
            let ended = exec(node, &id, &["sh", "-c", line], Streams::OUTPUT).await?.end().await?;
            assert_eq!(ended.exit_code(), Some(code), "{line}: {}", ended.status);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_end_of_input_reaches_the_process_and_its_output_still_comes() {
    need!(Crictl);
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "half"), &requests::idle("c")).await?;
        let command = ["sh", "-c", "wc -c; echo after"];
        let mut session = exec(node, &id, &command, Streams::ALL).await?;
        session.write("four").await?;
        session.write("five5").await?;
        session.end_input().await?;
        let ended = session.end().await?;
        assert_eq!((ended.stdout().as_str(), ended.exit_code()), ("9\nafter\n", Some(0)), "{}", ended.status);

        for transport in TRANSPORTS {
            let arguments = [&["exec", "-i", "--transport", transport, &id], &command[..]].concat();
            let told = crictl(node, &arguments, b"123456".to_vec()).await?;
            assert_eq!(String::from_utf8_lossy(&told.stdout), "6\nafter\n", "{transport}: {}", told.stderr);
            let told = crictl(node, &arguments, Vec::new()).await?;
            assert_eq!(String::from_utf8_lossy(&told.stdout), "0\nafter\n", "{transport}: {}", told.stderr);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_command_ends_though_its_input_does_not() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "open"), &requests::idle("c")).await?;
        let ended = exec(node, &id, &["echo", "done"], Streams::ALL).await?.end().await?;
        assert_eq!((ended.stdout().as_str(), ended.exit_code()), ("done\n", Some(0)));
        // And though a process in the background holds its streams.
        let line = "sleep 300 & echo done";
        let ended = exec(node, &id, &["sh", "-c", line], Streams::OUTPUT).await?.end().await?;
        assert_eq!((ended.stdout().as_str(), ended.exit_code()), ("done\n", Some(0)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_was_not_asked_for_does_not_come() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "chosen"), &requests::idle("c")).await?;
        let command = ["sh", "-c", "cat; echo out; echo err >&2"];
        for (stdout, stderr) in [(true, false), (false, true)] {
            let streams = Streams { stdin: false, stdout, stderr, tty: false };
            let ended = exec(node, &id, &command, streams).await?.end().await?;
            let expected = |asked: bool, text: &str| if asked { text.to_owned() } else { String::new() };
            assert_eq!(ended.stdout(), expected(stdout, "out\n"));
            assert_eq!(ended.stderr(), expected(stderr, "err\n"));
            assert_eq!(ended.exit_code(), Some(0), "{}", ended.status);
        }
        Ok(())
    })
    .await;
}

/// No two of its blocks are alike, so that a lost or repeated one shows.
fn numbered(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8)
        .flat_map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .collect()
}

#[tokio::test]
async fn sixty_four_megabytes_come_back_as_they_went() {
    need!(Crictl);
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "bulk"), &requests::idle("c")).await?;
        let sent = numbered(64 << 20);
        let digest = Sha256::digest(&sent);
        for transport in TRANSPORTS {
            let told =
                crictl(node, &["exec", "-i", "--transport", transport, &id, "cat"], sent.clone()).await?;
            assert!(told.success, "{transport}: {}", told.stderr);
            assert_eq!(told.stdout.len(), sent.len(), "{transport}");
            assert_eq!(Sha256::digest(&told.stdout), digest, "{transport}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn twenty_sessions_at_once_do_not_mix() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "twenty"), &requests::idle("c")).await?;
        let sessions = (0..20).map(|number| {
            let (mut runtime, id) = (node.runtime.clone(), id.clone());
            async move {
                let line = format!("seq 1 500 | sed s/^/{number}:/; cat; exit {number}");
                let url = streaming::exec_url(&mut runtime, &id, &["sh", "-c", &line], Streams::ALL).await?;
                let mut session = Channels::open(&url, V5).await?;
                session.write(&format!("input of {number}\n")).await?;
                session.end_input().await?;
                anyhow::Ok((number, session.end().await?))
            }
        });
        for ended in futures_util::future::join_all(sessions).await {
            let (number, ended) = ended?;
            let lines: String = (1..=500).map(|line| format!("{number}:{line}\n")).collect();
            assert_eq!(ended.stdout(), format!("{lines}input of {number}\n"));
            assert_eq!(ended.exit_code(), Some(number));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_command_that_cannot_run_is_named_in_the_status() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "cannot"), &requests::idle("c")).await?;
        let ended = exec(node, &id, &["/no/such/program"], Streams::OUTPUT).await?.end().await?;
        assert_ne!(ended.exit_code(), Some(0), "{}", ended.status);
        let words = ended.stderr() + &ended.status;
        assert!(words.contains("/no/such/program"), "{words}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_created_but_not_started_runs_commands() {
    need!();
    node::run(async |node| {
        let mut sandbox = requests::sandbox(node, "created");
        sandbox.hostname = "early".into();
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let id = node.create(&sandbox_id, &requests::idle("c"), &sandbox).await?;
        let ended = exec(node, &id, &["hostname"], Streams::OUTPUT).await?.end().await?;
        assert_eq!((ended.stdout().as_str(), ended.exit_code()), ("early\n", Some(0)), "{ended:?}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn requests_that_make_no_sense_are_refused_before_there_is_a_url() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "refused"), &requests::idle("c")).await?;
        let nothing = Streams { stdin: false, stdout: false, stderr: false, tty: false };
        let tty_and_stderr = Streams { stderr: true, ..Streams::TERMINAL };
        let (unknown, sleep) = ("0".repeat(64), ["sleep", "1"]);
        let checks: [(&str, &[&str], Streams, Code); 4] = [
            (&unknown, &sleep, Streams::OUTPUT, Code::NotFound),
            (&id, &sleep, tty_and_stderr, Code::InvalidArgument),
            (&id, &sleep, nothing, Code::InvalidArgument),
            (&id, &[], Streams::OUTPUT, Code::InvalidArgument),
        ];
        for (id, command, streams, code) in checks {
            let refused = streaming::exec_url(&mut node.runtime, id, command, streams).await.unwrap_err();
            assert_eq!(refused.code(), code, "{command:?} with {streams:?}: {refused}");
        }
        node.stop_container(&id, 0).await?;
        let refused = streaming::exec_url(&mut node.runtime, &id, &sleep, Streams::OUTPUT).await.unwrap_err();
        assert!(matches!(refused.code(), Code::NotFound | Code::FailedPrecondition), "{refused}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_said_to_a_channel_that_takes_nothing_is_dropped() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "stray"), &requests::idle("c")).await?;
        let mut session = exec(node, &id, &["head", "-n", "1"], Streams::ALL).await?;
        for stray in [channel::STDOUT, channel::STDERR, channel::ERROR, 77] {
            session.send(stray, b"nobody asked\n").await?;
        }
        session.send(channel::RESIZE, b"{\"Width\":80,\"Height\":24}").await?;
        session.write("asked\n").await?;
        let ended = session.end().await?;
        assert_eq!((ended.stdout().as_str(), ended.exit_code()), ("asked\n", Some(0)), "{}", ended.status);
        Ok(())
    })
    .await;
}
