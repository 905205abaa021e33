//! The daemon goes in the middle of sessions: the container and its log do not notice.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use linkspan_cri_api::v1;
use linkspan_tests::streaming::Streams;
use linkspan_tests::{need, node, requests, tools};

use super::{attach, exec, processes};

/// Counts; answers its input; leaves when that ends.
const COUNTING: &str = "(n=0; while :; do echo count $((n+=1)); usleep 2000; done) & \
     while read line; do echo got $line; done; echo the input ended";

#[tokio::test]
async fn a_killed_daemon_takes_its_sessions_along_and_nothing_of_the_container() {
    need!();
    node::run(async |node| {
        for graceful in [false, true] {
            let mut config = requests::container("c", &["sh", "-c", COUNTING]);
            // With `stdin_once`, a client that leaves ends the input; a daemon that dies must not.
            (config.stdin, config.stdin_once) = (true, true);
            let name = if graceful { "stopped" } else { "killed" };
            let (_, id) = node.run_pod(&requests::sandbox(node, name), &config).await?;
            let mut attached = attach(node, &id, Streams { stderr: false, ..Streams::ALL }).await?;
            attached.write("one\n").await?;
            attached.expect("got one\n").await?;
            let mut shell =
                exec(node, &id, &["sh", "-c", "echo ready; sleep 6300"], Streams::TERMINAL).await?;
            shell.expect("ready").await?;
            let mut piped = exec(node, &id, &["sh", "-c", "echo ready; sleep 6301"], Streams::ALL).await?;
            piped.expect("ready").await?;
            match graceful {
                true => node.stop().await?,
                false => node.kill()?,
            }
            // All three end, one way or another.
            for session in [attached, shell, piped] {
                let _ = session.end().await;
            }
            node.start_again().await?;
            processes(node, &id, "the end of the commands", |processes| !processes.contains("sleep 630"))
                .await?;
            assert_eq!(node.container_status(&id).await?.state(), v1::ContainerState::ContainerRunning);
            let lines = node.log_lines(&id, |_| true).await?.len();
            node.log_lines(&id, |later| later.len() > lines + 20).await?;
            if !graceful {
                // Nobody said that the input had ended: it goes on.
                let mut again = attach(node, &id, Streams { stderr: false, ..Streams::ALL }).await?;
                again.write("two\n").await?;
                again.expect("got two\n").await?;
            }
            node.stop_container(&id, 0).await?;
            let lines = node.log_lines(&id, |_| true).await?;
            let counts: Vec<&str> =
                lines.iter().filter_map(|line| line.text.strip_prefix("count ")).collect();
            assert!(
                counts.iter().zip(1..).all(|(count, number)| *count == number.to_string()),
                "{name}: lines are missing among {}",
                counts.len()
            );
        }
        Ok(())
    })
    .await;
}

/// A crun that, for an exec, does its work and then waits while the file `hold` is there before it tells the PID; with the file
/// `fail` it says in the end that it has failed.
fn late(folder: &Path) -> io::Result<PathBuf> {
    let script = format!(
        r#"#!/bin/bash
arguments=("$@")
for index in "${{!arguments[@]}}"; do
    [[ ${{arguments[index]}} == --pid-file && " $* " == *' exec '* ]] || continue
    pid_file=${{arguments[index + 1]}}
    arguments[index + 1]={folder}/pid-of-$$
    {crun} "${{arguments[@]}}" || exit
    while [[ -e {folder}/hold ]]; do sleep 0.02; done
    mv "${{arguments[index + 1]}}" "$pid_file" && [[ ! -e {folder}/fail ]]
    exit
done
exec {crun} "$@"
"#,
        folder = folder.display(),
        crun = tools::crun().display(),
    );
    tools::script(folder.join("late"), &script)
}

#[tokio::test]
async fn a_runtime_that_is_late_or_fails_when_its_process_runs_already_leaves_no_process() {
    need!();
    let folder = tempfile::tempdir().expect("a folder");
    let runtimes = vec![("late".to_owned(), late(folder.path()).expect("a script"))];
    let (hold, fail) = (folder.path().join("hold"), folder.path().join("fail"));
    node::with(node::Options { runtimes, ..node::Options::default() }, async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "late"), &requests::idle("c")).await?;
        let command = ["sh", "-c", "echo ready; sleep 6400"];
        for (streams, graceful) in [(Streams::ALL, true), (Streams::ALL, false), (Streams::OUTPUT, true)] {
            fs::write(&hold, "")?;
            let mut session = exec(node, &id, &command, streams).await?;
            session.expect("ready").await?;
            match graceful {
                true => node.stop().await?,
                false => node.kill()?,
            }
            let _ = session.end().await;
            node.start_again().await?;
            fs::remove_file(&hold)?;
            processes(node, &id, "the end of the command", |processes| !processes.contains("sleep 640"))
                .await?;
        }
        fs::write(&hold, "")?;
        fs::write(&fail, "")?;
        let mut session = exec(node, &id, &command, Streams::ALL).await?;
        session.expect("ready").await?;
        fs::remove_file(&hold)?;
        let ended = session.end().await?;
        assert_ne!(ended.exit_code(), Some(0), "{ended:?}");
        fs::remove_file(&fail)?;
        processes(node, &id, "the end of the command", |processes| !processes.contains("sleep 640")).await?;
        Ok(())
    })
    .await;
}
