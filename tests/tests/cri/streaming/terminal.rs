//! Exec with a terminal.

use linkspan_tests::streaming::{Streams, channel};
use linkspan_tests::{need, node, requests};

use super::exec;

#[tokio::test]
async fn control_d_ends_the_shell_with_its_last_code() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "end"), &requests::idle("c")).await?;
        let mut shell = exec(node, &id, &["sh"], Streams::TERMINAL).await?;
        // What is typed before the shell edits its line is a line of the kernel's, and Ctrl-D is no character of it.
        shell.expect("# ").await?;
        shell.write("(exit 42)\n").await?;
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
