//! Running programs to their end, with their words in errors.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub success: bool,
}

/// Runs `command` without input.
pub async fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("running {:?}", command.as_std()))?;
    Ok(Output {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        success: output.status.success(),
    })
}

/// Runs `command`; its output, or an error with its words if it failed.
pub async fn must(command: &mut Command) -> Result<String> {
    let output = run(command).await?;
    ensure!(output.success, "{:?} failed: {}{}", command.as_std(), output.stdout, output.stderr);
    Ok(output.stdout)
}
