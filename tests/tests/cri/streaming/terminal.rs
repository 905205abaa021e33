//! Exec with a terminal.

use anyhow::Result;
use linkspan_tests::streaming::{Channels, Streams, channel};
use linkspan_tests::{need, node, requests};

use super::{exec, processes};

#[tokio::test]
async fn a_shell_on_a_terminal_has_its_size_and_its_control_characters() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "shell"), &requests::idle("c")).await?;
        let mut shell = exec(node, &id, &["sh"], Streams::TERMINAL).await?;
        // The size may come after the shell has begun: it is asked for until it is there.
        for (columns, rows) in [(91, 33), (120, 40)] {
            shell.resize(columns, rows).await?;
            let size = format!("until [ \"$(stty size)\" = '{rows} {columns}' ]; do usleep 10000; done");
            line(&mut shell, &format!("{size}; echo size is ri''ght")).await?;
            shell.expect("size is right").await?;
        }

        line(&mut shell, "sleep 4444").await?;
        processes(node, &id, "the sleep", |processes| processes.contains("sleep 4444")).await?;
        shell.send(channel::STDIN, b"\x03").await?;
        line(&mut shell, "echo code $? e''nd").await?;
        shell.expect("code 130 end").await?;
        processes(node, &id, "its end", |processes| !processes.contains("sleep 4444")).await?;

        // Job control: stopped by Ctrl-Z, and gone on with.
        line(&mut shell, "sleep 4445").await?;
        processes(node, &id, "the sleep", |processes| processes.contains("sleep 4445")).await?;
        shell.send(channel::STDIN, b"\x1a").await?;
        shell.expect("Stopped").await?;
        line(&mut shell, "bg; jobs").await?;
        shell.expect("Running").await?;
        line(&mut shell, "kill -KILL %1; wait; exit 3").await?;
        let ended = shell.end().await?;
        assert_eq!(ended.exit_code(), Some(3), "{}: {}", ended.status, ended.stdout());
        Ok(())
    })
    .await;
}

/// Types a line at the shell's prompt. What is typed before it is a line of the kernel's, which takes control characters
/// its own way.
async fn line(shell: &mut Channels, text: &str) -> Result<()> {
    shell.expect("# ").await?;
    shell.write(&format!("{text}\n")).await
}

#[tokio::test]
async fn control_d_ends_the_shell_with_its_last_code() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "end"), &requests::idle("c")).await?;
        let mut shell = exec(node, &id, &["sh"], Streams::TERMINAL).await?;
        line(&mut shell, "(exit 42)").await?;
        shell.expect("\n").await?;
        shell.expect("# ").await?;
        shell.write("\x04").await?;
        let ended = shell.end().await?;
        assert_eq!(ended.exit_code(), Some(42), "{}: {}", ended.status, ended.stdout());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_terminal_carries_much_and_all_of_it() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "much"), &requests::idle("c")).await?;
        let ended = exec(node, &id, &["seq", "1", "200000"], Streams::TERMINAL).await?.end().await?;
        let expected: String = (1..=200_000).map(|number| format!("{number}\r\n")).collect();
        assert!(ended.stdout() == expected, "{} of {} bytes", ended.stdout.len(), expected.len());
        assert_eq!((ended.stderr().as_str(), ended.exit_code()), ("", Some(0)));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_size_that_is_no_size_ends_nothing() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "sizes"), &requests::idle("c")).await?;
        let mut shell = exec(node, &id, &["sh"], Streams::TERMINAL).await?;
        for size in [
            "{\"Width\":0,\"Height\":0}",
            "{\"Width\":65535,\"Height\":65535}",
            "{\"Width\":132,\"Height\":43}",
        ] {
            shell.send(channel::RESIZE, size.as_bytes()).await?;
        }
        shell.write("until [ \"$(stty size)\" = '43 132' ]; do usleep 10000; done; exit 5\n").await?;
        assert_eq!(shell.end().await?.exit_code(), Some(5));
        Ok(())
    })
    .await;
}
