//! A thin client of one CRI socket, with the few requests that the cases are made of.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use linkspan_cri_api::v1;
use linkspan_tests::client;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Uri};

/// One server under measurement. Pods log below a temporary directory of its own.
pub(crate) struct Endpoint {
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    pub(crate) runtime: v1::runtime_service_client::RuntimeServiceClient<Channel>,
    pub(crate) images: v1::image_service_client::ImageServiceClient<Channel>,
    pub(crate) logs: tempfile::TempDir,
}

/// A started pod with one container.
pub(crate) struct Pod {
    pub(crate) sandbox_id: String,
    pub(crate) container_id: String,
    pub(crate) log: PathBuf,
}

impl Endpoint {
    pub(crate) async fn connect(name: &str, socket: &Path) -> Result<Endpoint> {
        const MESSAGE_BYTES: usize = 16 << 20;
        let path = socket.to_owned();
        // The authority must not be the socket's path: h2 refuses that.
        let channel = tonic::transport::Endpoint::from_static("http://localhost")
            .connect_with_connector(tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }))
            .await
            .with_context(|| format!("connecting {}", socket.display()))?;
        let runtime = v1::runtime_service_client::RuntimeServiceClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES);
        let images = v1::image_service_client::ImageServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES);
        let logs = tempfile::tempdir()?;
        Ok(Endpoint { name: name.to_owned(), socket: socket.to_owned(), runtime, images, logs })
    }

    pub(crate) async fn pull(&mut self, image: &str) -> Result<String> {
        let spec = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let request = v1::PullImageRequest { image: Some(spec), ..Default::default() };
        Ok(self.images.pull_image(request).await?.into_inner().image_ref)
    }

    pub(crate) async fn remove_image(&mut self, image: &str) -> Result<()> {
        let spec = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        self.images.remove_image(v1::RemoveImageRequest { image: Some(spec) }).await?;
        Ok(())
    }

    /// RunPodSandbox, CreateContainer and StartContainer; `name` must not be in use.
    pub(crate) async fn start_pod(
        &mut self,
        name: &str,
        host_network: bool,
        shell: &str,
        image: &str,
    ) -> Result<Pod> {
        let directory = self.logs.path().join(name);
        let network = if host_network { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
        let namespaces = v1::NamespaceOption {
            network: network.into(),
            pid: v1::NamespaceMode::Container.into(),
            ..Default::default()
        };
        let security = v1::LinuxSandboxSecurityContext {
            namespace_options: Some(namespaces.clone()),
            ..Default::default()
        };
        let sandbox = v1::PodSandboxConfig {
            metadata: Some(v1::PodSandboxMetadata {
                name: name.to_owned(),
                uid: format!("{name}-uid"),
                namespace: "bench".into(),
                attempt: 0,
            }),
            hostname: if host_network { String::new() } else { name.to_owned() },
            log_directory: directory.display().to_string(),
            linux: Some(v1::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
            ..Default::default()
        };
        let sandbox_id = client::run_sandbox(&mut self.runtime, &sandbox).await?;
        let container_id = self.start_container(&sandbox_id, sandbox, namespaces, shell, image).await?;
        Ok(Pod { sandbox_id, container_id, log: directory.join("bench.log") })
    }

    async fn start_container(
        &mut self,
        sandbox_id: &str,
        sandbox: v1::PodSandboxConfig,
        namespaces: v1::NamespaceOption,
        shell: &str,
        image: &str,
    ) -> Result<String> {
        let security =
            v1::LinuxContainerSecurityContext { namespace_options: Some(namespaces), ..Default::default() };
        let config = v1::ContainerConfig {
            metadata: Some(v1::ContainerMetadata { name: "bench".into(), attempt: 0 }),
            image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
            command: vec!["/bin/sh".into(), "-c".into(), shell.to_owned()],
            log_path: "bench.log".into(),
            linux: Some(v1::LinuxContainerConfig { security_context: Some(security), ..Default::default() }),
            ..Default::default()
        };
        Ok(client::start_container(&mut self.runtime, sandbox_id, config, &sandbox).await?)
    }

    /// StopPodSandbox and RemovePodSandbox.
    pub(crate) async fn end_pod(&mut self, pod: &Pod) -> Result<()> {
        Ok(client::remove_sandbox(&mut self.runtime, &pod.sandbox_id).await?)
    }

    pub(crate) async fn exec(&mut self, pod: &Pod, command: &[&str]) -> Result<Vec<u8>> {
        let request = v1::ExecSyncRequest {
            container_id: pod.container_id.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            timeout: 60,
        };
        Ok(self.runtime.exec_sync(request).await?.into_inner().stdout)
    }

    pub(crate) async fn wait_exited(&mut self, pod: &Pod) -> Result<()> {
        for _ in 0..12_000 {
            let request =
                v1::ContainerStatusRequest { container_id: pod.container_id.clone(), verbose: false };
            let status = self.runtime.container_status(request).await?.into_inner().status;
            if status.is_some_and(|status| status.state == i32::from(v1::ContainerState::ContainerExited)) {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        anyhow::bail!("{} did not exit within a minute", pod.container_id)
    }
}
