//! The gRPC client of both services on one socket, and crictl.

use std::path::Path;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use linkspan_cri_api::v1;
use linkspan_cri_api::v1::image_service_client::ImageServiceClient;
use linkspan_cri_api::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tokio::process::Command;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::tools;

pub type Runtime = RuntimeServiceClient<Channel>;
pub type Images = ImageServiceClient<Channel>;

/// As the kubelet's limit.
const MESSAGE_BYTES: usize = 16 << 20;

/// Connects once; the channel connects anew by itself if the daemon is started anew.
pub async fn channel(socket: &Path) -> Result<Channel> {
    let path = socket.to_owned();
    // The authority must not be the socket's path: h2 refuses that. The kubelet sends `localhost`.
    Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
        .await
        .with_context(|| format!("connecting to {}", socket.display()))
}

/// Clients of both services on a [`channel`].
pub async fn connect(socket: &Path) -> Result<(Runtime, Images)> {
    let channel = channel(socket).await?;
    Ok((
        RuntimeServiceClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES),
        ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES),
    ))
}

/// RunPodSandbox with the default handler; its ID.
pub async fn run_sandbox(runtime: &mut Runtime, config: &v1::PodSandboxConfig) -> Result<String, Status> {
    let request = v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
    Ok(runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id)
}

/// CreateContainer and StartContainer of an image that is there; its ID.
pub async fn start_container(
    runtime: &mut Runtime,
    sandbox_id: &str,
    config: v1::ContainerConfig,
    sandbox: &v1::PodSandboxConfig,
) -> Result<String, Status> {
    let request = v1::CreateContainerRequest {
        pod_sandbox_id: sandbox_id.to_owned(),
        config: Some(config),
        sandbox_config: Some(sandbox.clone()),
    };
    let container_id = runtime.create_container(request).await?.into_inner().container_id;
    runtime.start_container(v1::StartContainerRequest { container_id: container_id.clone() }).await?;
    Ok(container_id)
}

/// StopPodSandbox and RemovePodSandbox.
pub async fn remove_sandbox(runtime: &mut Runtime, id: &str) -> Result<(), Status> {
    let pod_sandbox_id = id.to_owned();
    runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod_sandbox_id.clone() }).await?;
    runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id }).await?;
    Ok(())
}

/// A `crictl` command on `socket`.
pub fn crictl(socket: &Path) -> Command {
    let endpoint = format!("unix://{}", socket.display());
    let mut command = Command::new(tools::crictl());
    command.args(["--config", "/dev/null", "--timeout", "60s"]);
    command.args(["--runtime-endpoint", &endpoint, "--image-endpoint", &endpoint]);
    command
}
