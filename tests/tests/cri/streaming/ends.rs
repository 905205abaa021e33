//! When either side goes, everything of the session goes.

use linkspan_tests::streaming::Streams;
use linkspan_tests::{need, node, requests, wait};

use super::{DEADLINE, TRANSPORTS, exec, processes};

/// A process that notes the hangup, and one of its children that ignores it.
const STUBBORN: &str = "trap 'echo hung up >/tmp/note; exit' HUP; (trap '' HUP; sleep 6001) & echo ready; sleep 6002 & wait; sleep 6003";

#[tokio::test]
async fn the_process_of_a_client_that_is_cut_off_is_hung_up_and_gone_with_its_tree() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "cut"), &requests::idle("c")).await?;
        for streams in
            [Streams::ALL, Streams::OUTPUT, Streams::TERMINAL, Streams { stdin: false, ..Streams::TERMINAL }]
        {
            node.shell(&id, "rm -f /tmp/note").await?;
            let mut session = exec(node, &id, &["sh", "-c", STUBBORN], streams).await?;
            session.expect("ready").await?;
            session.cut()?;
            wait::until("the hangup", DEADLINE, async || {
                anyhow::ensure!(node.shell(&id, "cat /tmp/note").await? == "hung up");
                Ok(())
            })
            .await?;
            processes(node, &id, "the end of the tree", |processes| !processes.contains("sleep 600")).await?;
        }
        assert_eq!(node.output(&id, &["echo", "hello"]).await?, "hello");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_process_of_a_killed_crictl_is_hung_up() {
    need!(Crictl);
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "killed"), &requests::idle("c")).await?;
        for transport in TRANSPORTS {
            node.shell(&id, "rm -f /tmp/note").await?;
            let mut crictl = node.crictl();
            crictl.args(["exec", "-i", "--transport", transport, &id, "sh", "-c", STUBBORN]);
            crictl.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null());
            let mut crictl = crictl.kill_on_drop(true).spawn()?;
            processes(node, &id, "the command", |processes| processes.contains("sleep 6002")).await?;
            crictl.kill().await?;
            wait::until("the hangup", DEADLINE, async || {
                anyhow::ensure!(node.shell(&id, "cat /tmp/note").await? == "hung up");
                Ok(())
            })
            .await?;
            processes(node, &id, "the end of the tree", |processes| !processes.contains("sleep 600")).await?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_ends_ends_its_sessions() {
    need!();
    node::run(async |node| {
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "ends"), &requests::idle("c")).await?;
        let mut plain = exec(node, &id, &["sh", "-c", "echo ready; sleep 6000"], Streams::ALL).await?;
        let mut terminal =
            exec(node, &id, &["sh", "-c", "echo ready; sleep 6000"], Streams::TERMINAL).await?;
        let attached = super::attach(node, &id, Streams::ALL).await?;
        plain.expect("ready").await?;
        terminal.expect("ready").await?;
        node.stop_container(&id, 0).await?;
        for session in [plain, terminal] {
            let ended = session.end().await?;
            assert_ne!(ended.exit_code(), Some(0), "{ended:?}");
        }
        attached.end().await?;
        node.remove_sandbox(&sandbox_id).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_its_own_command_only() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "unread"), &requests::idle("c")).await?;
        let unread = exec(
            node,
            &id,
            &["sh", "-c", "yes | head -c 300000000; echo all is said >/tmp/said"],
            Streams::OUTPUT,
        )
        .await?;
        // Others go on; and the daemon does not take what nobody wants.
        let ended =
            exec(node, &id, &["sh", "-c", "yes | head -c 3000000"], Streams::OUTPUT).await?.end().await?;
        assert_eq!(ended.stdout.len(), 3_000_000);
        assert_ne!(node.exec(&id, &["cat", "/tmp/said"]).await?.exit_code, 0, "somebody keeps 300 MB");
        unread.cut()?;
        processes(node, &id, "the end of the command", |processes| !processes.contains("yes")).await?;
        Ok(())
    })
    .await;
}
