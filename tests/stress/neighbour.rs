//! Small pods on the host's network, beside those that the sessions are of.

use std::time::Duration;

use anyhow::{Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::client::{self, Runtime};
use linkspan_tests::requests;
use linkspan_tests::streaming::{self, Channels, Streams};

/// As the kubelet gives a probe by default, times the load that an attack makes.
const PROBE: Duration = Duration::from_secs(10);

pub(crate) struct Neighbour {
    pub(crate) runtime: Runtime,
    sandbox_id: String,
    pub(crate) container_id: String,
    _logs: tempfile::TempDir,
}

impl Neighbour {
    pub(crate) async fn start(mut runtime: Runtime, name: &str) -> Result<Neighbour> {
        let logs = tempfile::tempdir()?;
        let node = v1::NamespaceMode::Node.into();
        let namespaces = v1::NamespaceOption { network: node, ..requests::namespaces() };
        let security = v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces.clone()),
            ..Default::default()
        };
        let sandbox = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "stress".to_owned(),
                attempt: 0,
            }),
            log_directory: logs.path().display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
            ..Default::default()
        };
        let sandbox_id = client::run_sandbox(&mut runtime, &sandbox).await?;
        let mut config = requests::idle("c");
        requests::security(&mut config).namespace_options = Some(namespaces);
        let container_id = client::start_container(&mut runtime, &sandbox_id, config, &sandbox).await?;
        Ok(Neighbour { runtime, sandbox_id, container_id, _logs: logs })
    }

    /// As the kubelet does it.
    pub(crate) async fn probe(&self) -> Result<()> {
        let request = v1::ExecSyncRequest {
            container_id: self.container_id.clone(),
            cmd: vec!["true".to_owned()],
            timeout: PROBE.as_secs().cast_signed(),
        };
        let answer = self.runtime.clone().exec_sync(request).await?.into_inner();
        ensure!(answer.exit_code == 0, "exit code {}", answer.exit_code);
        Ok(())
    }

    /// A session of somebody who means well.
    pub(crate) async fn session(&self, number: usize) -> Result<()> {
        let line = format!("echo number {number}");
        let session = self.exec(&["sh", "-c", &line]).await?;
        let ended = session.end().await?;
        ensure!(ended.stdout() == format!("number {number}\n"), "{ended:?}");
        Ok(())
    }

    pub(crate) async fn exec(&self, command: &[&str]) -> Result<Channels> {
        let mut runtime = self.runtime.clone();
        let url = streaming::exec_url(&mut runtime, &self.container_id, command, Streams::ALL).await?;
        Channels::open(&url, "v5.channel.k8s.io").await
    }

    pub(crate) async fn remove(mut self) -> Result<()> {
        Ok(client::remove_sandbox(&mut self.runtime, &self.sandbox_id).await?)
    }
}
