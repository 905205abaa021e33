//! Attach: from now on, several at once, and never in the container's way.

use std::process::Stdio;

use linkspan_cri_api::v1;
use linkspan_tests::streaming::{self, Streams};
use linkspan_tests::{need, node, requests};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tonic::Code;

use super::{DEADLINE, TRANSPORTS, attach};

/// Says more than pipes, sockets and windows hold together, in so many lines.
const MUCH: (usize, &str) = (200_000, "seq 1 200000 | sed \"s/$/ $(printf %0100d 0)/\"");

/// What [`MUCH`] says.
fn much() -> impl Iterator<Item = String> {
    (1..=MUCH.0).map(|number| format!("{number} {:0100}", 0))
}

/// Answers every line of its input, on both streams.
fn answering(name: &str) -> v1::ContainerConfig {
    let line = "echo early; while read line; do echo got $line; echo err $line >&2; done; echo end of input";
    let mut config = requests::container(name, &["sh", "-c", line]);
    config.stdin = true;
    config
}

#[tokio::test]
async fn clients_see_what_is_said_from_now_on_and_leave_without_a_trace() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "two"), &answering("c")).await?;
        node.log_lines(&id, |lines| lines.len() == 1).await?;
        let streams = Streams { stderr: false, ..Streams::ALL };
        let mut watching = attach(node, &id, streams).await?;
        watching.write("zero\n").await?;
        assert_eq!(watching.expect("zero\n").await?, "got zero\n", "what was said before does not come");
        let mut talking = attach(node, &id, streams).await?;
        talking.write("one\n").await?;
        assert_eq!(talking.expect("one\n").await?, "got one\n");
        assert_eq!(watching.expect("one\n").await?, "got one\n");
        talking.cut()?;
        let mut again = attach(node, &id, streams).await?;
        again.write("three\n").await?;
        again.expect("got three\n").await?;
        watching.expect("got three\n").await?;
        again.end_input().await?;
        watching.cut()?;
        let lines = node.log_lines(&id, |lines| lines.len() >= 7).await?;
        assert_eq!(lines.len(), 7, "early, and two for each line: {lines:?}");
        assert_eq!(node.container_status(&id).await?.state(), v1::ContainerState::ContainerRunning);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn crictl_attaches_by_either_transport() {
    need!(Crictl);
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "crictl"), &answering("c")).await?;
        for transport in TRANSPORTS {
            let mut crictl = node.crictl();
            crictl.args(["attach", "-i", "--transport", transport, &id]);
            crictl.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut crictl = crictl.spawn()?;
            let (mut stdin, stdout) = (crictl.stdin.take().unwrap(), crictl.stdout.take().unwrap());
            stdin.write_all(format!("by {transport}\n").as_bytes()).await?;
            let mut lines = BufReader::new(stdout).lines();
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??;
            assert_eq!(line, Some(format!("got by {transport}")));
            // The end of this client's input is not the end of the container's.
            drop(stdin);
            assert!(tokio::time::timeout(DEADLINE, crictl.wait()).await??.success(), "{transport}");
        }
        assert_eq!(node.container_status(&id).await?.state(), v1::ContainerState::ContainerRunning);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_wants_one_input_sees_its_end() {
    need!(Crictl);
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "once");
        let mut config = answering("c");
        config.stdin_once = true;
        let (sandbox_id, id) = node.run_pod(&sandbox, &config).await?;
        node.log_lines(&id, |lines| lines.len() == 1).await?;
        let mut session = attach(node, &id, Streams::ALL).await?;
        session.write("line\n").await?;
        session.end_input().await?;
        let ended = session.end().await?;
        assert_eq!(ended.stdout(), "got line\nend of input\n");
        assert_eq!(ended.stderr(), "err line\n");
        assert_eq!(node.exited(&id).await?.exit_code, 0);

        // A client that is cut off ends it, too.
        config.metadata = Some(v1::ContainerMetadata { name: "cut".into(), attempt: 0 });
        config.log_path = "cut.log".into();
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        let mut session = attach(node, &id, Streams { stderr: false, ..Streams::ALL }).await?;
        session.write("line\n").await?;
        session.expect("got line\n").await?;
        session.cut()?;
        assert!(node.logged(&id).await?.ends_with("end of input\n"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_stalls_neither_the_container_nor_its_log_and_is_told() {
    need!();
    node::run(async |node| {
        let line = format!("read line; echo joined; read line; {}; echo last", MUCH.1);
        let mut config = requests::container("c", &["sh", "-c", &line]);
        config.stdin = true;
        let (_, id) = node.run_pod(&requests::sandbox(node, "slow"), &config).await?;
        let mut dead = attach(node, &id, Streams::ALL).await?;
        dead.write("hello\n").await?;
        // Its input has come through, so it has joined.
        node.log_lines(&id, |lines| !lines.is_empty()).await?;
        let mut talking = attach(node, &id, Streams { stderr: false, ..Streams::ALL }).await?;
        talking.write("go\n").await?;
        talking.expect("1 0").await?;
        talking.cut()?;
        // To the end, while nobody reads.
        node.exited(&id).await?;
        let lines = node.log_lines(&id, |lines| lines.last().is_some_and(|line| line.text == "last")).await?;
        assert_eq!(lines.len(), MUCH.0 + 2);
        assert!(lines[1..].iter().zip(much()).all(|(line, said)| line.text == said));
        // What it got has no gap, and it is told that this is not all.
        let ended = dead.end().await?;
        let all: String =
            std::iter::once("joined".to_owned()).chain(much()).map(|line| line + "\n").collect();
        assert!(all.starts_with(&ended.stdout()), "{} bytes", ended.stdout.len());
        assert!(ended.status.contains("reads too slowly"), "{}", ended.status);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_only_client_of_a_container_with_one_input_gets_all_however_slowly_it_reads() {
    need!();
    node::run(async |node| {
        let mut config = requests::container("c", &["sh", "-c", &format!("read line; {}", MUCH.1)]);
        (config.stdin, config.stdin_once) = (true, true);
        let (_, id) = node.run_pod(&requests::sandbox(node, "run-i"), &config).await?;
        let mut session = attach(node, &id, Streams { stderr: false, ..Streams::ALL }).await?;
        session.write("go\n").await?;
        node.log_lines(&id, |lines| lines.len() > 10_000).await?;
        let ended = session.end().await?;
        let all: String = much().map(|line| line + "\n").collect();
        assert!(ended.stdout() == all, "{} bytes of {}", ended.stdout.len(), all.len());
        assert_eq!(ended.exit_code(), Some(0), "{}", ended.status);
        assert_eq!(node.exited(&id).await?.exit_code, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_terminal_is_shared_resized_and_outlives_its_clients() {
    need!();
    node::run(async |node| {
        let mut config = requests::container("c", &["sh"]);
        (config.tty, config.stdin) = (true, true);
        let (_, id) = node.run_pod(&requests::sandbox(node, "tty"), &config).await?;
        let mut shell = attach(node, &id, Streams::TERMINAL).await?;
        shell.resize(101, 37).await?;
        shell
            .write("until [ \"$(stty size)\" = '37 101' ]; do usleep 10000; done; echo size is ri''ght\n")
            .await?;
        shell.expect("size is right").await?;
        let mut other = attach(node, &id, Streams::TERMINAL).await?;
        other.write("echo bo''th\n").await?;
        other.expect("both").await?;
        shell.expect("both").await?;
        shell.cut()?;
        other.cut()?;
        let mut again = attach(node, &id, Streams::TERMINAL).await?;
        again.write("echo st''ill there\n").await?;
        again.expect("still there").await?;
        again.write("exit 4\n").await?;
        again.end().await?;
        assert_eq!(node.exited(&id).await?.exit_code, 4);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn twenty_attach_at_once_and_each_sees_all() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "twenty"), &answering("c")).await?;
        let mut sessions = Vec::new();
        for number in 0..20 {
            let mut session = attach(node, &id, Streams { stderr: false, ..Streams::ALL }).await?;
            session.write(&format!("hello of {number}\n")).await?;
            session.expect(&format!("got hello of {number}\n")).await?;
            sessions.push(session);
        }
        sessions[7].write("to all\n").await?;
        for session in &mut sessions {
            session.expect("got to all\n").await?;
        }
        node.stop_container(&id, 0).await?;
        for session in sessions {
            session.end().await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn only_a_running_container_can_be_attached_to() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "refused");
        let (sandbox_id, id) = node.run_pod(&sandbox, &requests::idle("c")).await?;
        let created = node.create(&sandbox_id, &requests::idle("created"), &sandbox).await?;
        node.stop_container(&id, 0).await?;
        let tty_and_stderr = Streams { stderr: true, ..Streams::TERMINAL };
        let unknown = "0".repeat(64);
        for (id, streams, codes) in [
            (&unknown, Streams::ALL, &[Code::NotFound][..]),
            (&created, Streams::ALL, &[Code::FailedPrecondition]),
            (&id, Streams::ALL, &[Code::FailedPrecondition]),
            (&created, tty_and_stderr, &[Code::InvalidArgument, Code::FailedPrecondition]),
        ] {
            let refused = streaming::attach_url(&mut node.runtime, id, streams).await.unwrap_err();
            assert!(codes.contains(&refused.code()), "{streams:?}: {refused}");
        }
        Ok(())
    })
    .await;
}
