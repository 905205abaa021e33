//! What the daemon takes of the node, and what it leaves to what it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use linkspan_tests::node::Options;
use linkspan_tests::{need, node, requests, tools};

/// Soft and hard limit of open files.
fn open_files(pid: u32) -> Result<(u64, u64)> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line =
        limits.lines().find(|line| line.starts_with("Max open files")).context("a limit of open files")?;
    let mut numbers = line.split_whitespace().skip(3).map(str::parse);
    Ok((numbers.next().context("a soft limit")??, numbers.next().context("a hard limit")??))
}

/// A runtime that notes with which limit of open files it is called for what.
fn noting_runtime(dir: &Path) -> Result<std::path::PathBuf> {
    let (path, crun) = (dir.join("noting"), tools::crun());
    let (notes, crun) = (dir.join("notes"), crun.display());
    let script = format!("#!/bin/sh\necho \"$(ulimit -Sn) $*\" >>{}\nexec {crun} \"$@\"\n", notes.display());
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

#[tokio::test]
async fn the_daemons_limit_of_open_files_is_raised_and_what_it_starts_gets_what_it_was_given() {
    need!();
    const GIVEN: u64 = 1023;
    let dir = tempfile::tempdir().unwrap();
    let runtimes = vec![
        ("crun".to_owned(), tools::crun()),
        ("runc".to_owned(), tools::runc()),
        ("noting".to_owned(), noting_runtime(dir.path()).unwrap()),
    ];
    let options = Options { runtimes, open_files: Some(GIVEN), ..Options::default() };
    node::with(options, async |node| {
        let (soft, hard) = open_files(node.daemon_pid().context("a daemon")?)?;
        ensure!(soft == hard && soft > GIVEN, "the daemon has {soft} of {hard}");
        for handler in ["crun", "runc", "noting"] {
            let command = ["sh", "-c", "ulimit -Sn; exec sleep 3600"];
            let container = requests::container("c", &command);
            let sandbox = requests::sandbox(node, handler);
            let (sandbox_id, id) = node.run_pod_on(handler, &sandbox, &container).await?;
            let log = node.log_lines(&id, |lines| !lines.is_empty()).await?;
            ensure!(log[0].text == GIVEN.to_string(), "{handler}: the container has {log:?}");
            let said = node.output(&id, &["sh", "-c", "ulimit -Sn"]).await?;
            ensure!(said == GIVEN.to_string(), "{handler}: an exec'd process has {said}");
            node.stop_sandbox(&sandbox_id).await?;
            node.remove_sandbox(&sandbox_id).await?;
        }
        let notes = fs::read_to_string(dir.path().join("notes"))?;
        for verb in ["create", "start", "exec", "delete"] {
            ensure!(notes.contains(verb), "the runtime was never called to {verb}: {notes}");
        }
        let raised = notes.lines().find(|line| !line.starts_with(&format!("{GIVEN} ")));
        ensure!(raised.is_none(), "called with another limit: {raised:?}");
        Ok(())
    })
    .await;
}
