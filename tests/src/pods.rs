//! Pods on a node, in the words of tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::node::Node;
use crate::requests;
use crate::tools;
use crate::wait;

const DEADLINE: Duration = Duration::from_secs(30);

/// What an ExecSync gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub exit_code: i32,
}

impl Node {
    pub async fn pull(&mut self, image: &str) -> Result<String, Status> {
        let request = v1::PullImageRequest { image: Some(requests::image(image)), ..Default::default() };
        Ok(self.images.pull_image(request).await?.into_inner().image_ref)
    }

    /// Takes in an image archive or layout of this machine.
    pub async fn load(&self, path: &Path) -> Result<()> {
        let mut load = tokio::process::Command::new(tools::daemon());
        load.args(["image", "load"]).arg(path).arg("--socket").arg(self.socket());
        let loaded = load.output().await?;
        ensure!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        Ok(())
    }

    pub async fn image(&mut self, name: &str) -> Result<Option<v1::Image>, Status> {
        let request = v1::ImageStatusRequest { image: Some(requests::image(name)), verbose: false };
        Ok(self.images.image_status(request).await?.into_inner().image)
    }

    pub async fn run_sandbox(
        &mut self,
        config: &v1::PodSandboxConfig,
        handler: &str,
    ) -> Result<String, Status> {
        let request =
            v1::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler: handler.to_owned() };
        Ok(self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
    }

    pub async fn create(
        &mut self,
        sandbox_id: &str,
        container: &v1::ContainerConfig,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<String, Status> {
        let request = create_request(sandbox_id, container, sandbox);
        Ok(self.runtime.create_container(request).await?.into_inner().container_id)
    }

    /// [`Self::create`] in the background.
    pub fn creating(
        &self,
        sandbox_id: &str,
        container: &v1::ContainerConfig,
        sandbox: &v1::PodSandboxConfig,
    ) -> JoinHandle<Result<String, Status>> {
        let mut runtime = self.runtime.clone();
        let request = create_request(sandbox_id, container, sandbox);
        tokio::spawn(async move { Ok(runtime.create_container(request).await?.into_inner().container_id) })
    }

    pub async fn start_container(&mut self, id: &str) -> Result<(), Status> {
        self.runtime.start_container(v1::StartContainerRequest { container_id: id.to_owned() }).await?;
        Ok(())
    }

    /// `timeout` in seconds.
    pub async fn stop_container(&mut self, id: &str, timeout: i64) -> Result<(), Status> {
        let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        self.runtime.stop_container(request).await?;
        Ok(())
    }

    pub async fn remove_container(&mut self, id: &str) -> Result<(), Status> {
        self.runtime.remove_container(v1::RemoveContainerRequest { container_id: id.to_owned() }).await?;
        Ok(())
    }

    pub async fn stop_sandbox(&mut self, id: &str) -> Result<(), Status> {
        self.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await?;
        Ok(())
    }

    pub async fn remove_sandbox(&mut self, id: &str) -> Result<(), Status> {
        self.runtime
            .remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() })
            .await?;
        Ok(())
    }

    /// Pulls the image, runs the sandbox, creates and starts the container; gives both IDs.
    pub async fn run_pod(
        &mut self,
        sandbox: &v1::PodSandboxConfig,
        container: &v1::ContainerConfig,
    ) -> Result<(String, String)> {
        let sandbox_id = self.run_sandbox(sandbox, "").await.context("RunPodSandbox")?;
        let container_id = self.run_container(&sandbox_id, container, sandbox).await?;
        Ok((sandbox_id, container_id))
    }

    /// [`Self::run_pod`] with a runtime handler.
    pub async fn run_pod_on(
        &mut self,
        handler: &str,
        sandbox: &v1::PodSandboxConfig,
        container: &v1::ContainerConfig,
    ) -> Result<(String, String)> {
        let sandbox_id = self.run_sandbox(sandbox, handler).await.context("RunPodSandbox")?;
        let container_id = self.run_container(&sandbox_id, container, sandbox).await?;
        Ok((sandbox_id, container_id))
    }

    /// Pulls the image, creates and starts the container.
    pub async fn run_container(
        &mut self,
        sandbox_id: &str,
        container: &v1::ContainerConfig,
        sandbox: &v1::PodSandboxConfig,
    ) -> Result<String> {
        let image = container.image.as_ref().context("an image")?.image.clone();
        self.pull(&image).await.with_context(|| format!("pulling {image}"))?;
        let id = self.create(sandbox_id, container, sandbox).await.context("CreateContainer")?;
        self.start_container(&id).await.context("StartContainer")?;
        Ok(id)
    }

    pub async fn sandbox_status(&mut self, id: &str) -> Result<v1::PodSandboxStatus, Status> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = self.runtime.pod_sandbox_status(request).await?.into_inner();
        answer.status.ok_or_else(|| Status::data_loss("no status in the answer"))
    }

    /// The `info` of the verbose status.
    pub async fn sandbox_info(&mut self, id: &str) -> Result<serde_json::Value> {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: true };
        let answer = self.runtime.pod_sandbox_status(request).await?.into_inner();
        Ok(serde_json::from_str(answer.info.get("info").context("`info` in the verbose status")?)?)
    }

    /// The pod's first address.
    pub async fn address(&mut self, sandbox_id: &str) -> Result<String> {
        let status = self.sandbox_status(sandbox_id).await?;
        let address = status.network.context("a network in the status")?.ip;
        ensure!(!address.is_empty(), "the sandbox has no address");
        Ok(address)
    }

    pub async fn container_status(&mut self, id: &str) -> Result<v1::ContainerStatus, Status> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.runtime.container_status(request).await?.into_inner();
        answer.status.ok_or_else(|| Status::data_loss("no status in the answer"))
    }

    /// The `info` of the verbose status.
    pub async fn container_info(&mut self, id: &str) -> Result<serde_json::Value> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: true };
        let answer = self.runtime.container_status(request).await?.into_inner();
        Ok(serde_json::from_str(answer.info.get("info").context("`info` in the verbose status")?)?)
    }

    /// The container's first process, once it has its trap for SIGTERM: a shell that is PID 1 passes over the signal before,
    /// however soon after its start that is.
    pub async fn trapped(&mut self, id: &str) -> Result<u32> {
        let pid = self.container_info(id).await?["pid"].to_string().parse()?;
        wait::until("the container traps SIGTERM", DEADLINE, async || {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("SigCgt")?;
            let term = 1 << (15 - 1);
            ensure!(u64::from_str_radix(caught.trim(), 16)? & term != 0, "it does not so far");
            Ok(pid)
        })
        .await
    }

    /// Waits until the container has ended; its last status.
    pub async fn exited(&mut self, id: &str) -> Result<v1::ContainerStatus> {
        wait::until("the container ends", DEADLINE, async || {
            let status = self.container_status(id).await?;
            ensure!(status.state() == v1::ContainerState::ContainerExited, "it is {:?}", status.state());
            Ok(status)
        })
        .await
    }

    pub async fn exec(&mut self, id: &str, command: &[&str]) -> Result<Said, Status> {
        self.exec_within(id, command, 20).await
    }

    /// `timeout` in seconds, 0 for none.
    pub async fn exec_within(&mut self, id: &str, command: &[&str], timeout: i64) -> Result<Said, Status> {
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout,
        };
        let answer = self.runtime.exec_sync(request).await?.into_inner();
        Ok(Said {
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
            exit_code: answer.exit_code,
        })
    }

    /// Standard output of a command that must succeed, without the last newline.
    pub async fn output(&mut self, id: &str, command: &[&str]) -> Result<String> {
        let said = self.exec(id, command).await.with_context(|| format!("{command:?}"))?;
        ensure!(said.exit_code == 0, "{command:?}: {said:?}");
        Ok(said.stdout.trim_end_matches('\n').to_owned())
    }

    /// Standard output of a shell's line that must succeed.
    pub async fn shell(&mut self, id: &str, line: &str) -> Result<String> {
        self.output(id, &["sh", "-c", line]).await
    }

    pub async fn log_path(&mut self, id: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(self.container_status(id).await?.log_path))
    }

    /// The lines of a container's log, once `enough` holds for them.
    pub async fn log_lines(&mut self, id: &str, enough: impl Fn(&[LogLine]) -> bool) -> Result<Vec<LogLine>> {
        let path = self.log_path(id).await?;
        wait::until("the log is written", DEADLINE, async || {
            let text = fs::read_to_string(&path)?;
            let lines = text.lines().map(LogLine::parse).collect::<Result<Vec<_>>>()?;
            ensure!(enough(&lines), "it has {} lines: {:?}", lines.len(), lines.last());
            Ok(lines)
        })
        .await
    }

    /// All that a container that has ended wrote to its log, both streams together.
    pub async fn logged(&mut self, id: &str) -> Result<String> {
        self.exited(id).await?;
        let lines = self.log_lines(id, |_| true).await?;
        Ok(lines
            .iter()
            .map(|line| if line.full { format!("{}\n", line.text) } else { line.text.clone() })
            .collect())
    }
}

/// One line of a log in CRI's format: `<RFC 3339 nano> <stream> <P|F> <text>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub time: String,
    pub stream: String,
    /// Ends with a newline, or is the last of a line that was split.
    pub full: bool,
    pub text: String,
}

impl LogLine {
    fn parse(line: &str) -> Result<LogLine> {
        let mut parts = line.splitn(4, ' ');
        let mut part = || parts.next().with_context(|| format!("not a line of CRI's format: {line:?}"));
        let (time, stream, tag) = (part()?.to_owned(), part()?.to_owned(), part()?);
        ensure!(tag == "P" || tag == "F", "unknown tag in {line:?}");
        ensure!(stream == "stdout" || stream == "stderr", "unknown stream in {line:?}");
        ensure!(time.len() >= 30 && time.contains('T'), "not a time with nanoseconds: {line:?}");
        Ok(LogLine { time, stream, full: tag == "F", text: part()?.to_owned() })
    }
}

fn create_request(
    sandbox_id: &str,
    container: &v1::ContainerConfig,
    sandbox: &v1::PodSandboxConfig,
) -> v1::CreateContainerRequest {
    v1::CreateContainerRequest {
        pod_sandbox_id: sandbox_id.to_owned(),
        config: Some(container.clone()),
        sandbox_config: Some(sandbox.clone()),
    }
}
