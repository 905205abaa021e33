//! CRI `RuntimeService`: each RPC is wire, call, wire. What an RPC does is told in `linkspan-pod-sandbox`, in the
//! method of the same name.

use std::collections::BTreeMap;
use std::time::Duration;

use linkspan_config::CgroupDriver;
use linkspan_cri_api::v1;
use linkspan_cri_api::v1::runtime_service_server::RuntimeService;
use linkspan_pod_sandbox as pod_sandbox;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::call::{concerns_container, concerns_sandbox};
use crate::follow::{Followed, follow};
use crate::readiness::conditions;
use crate::streaming::request::Ticket;
use crate::wire::batch::{Batches, batches};
use crate::wire::field::{Inside, not_empty, required, seconds};
use crate::wire::{
    checkpoint, container, event, filter, metrics, node, resources, sandbox, stats, status, streaming,
};

/// Of the time that a client gives a checkpoint, what it takes to let go of a pod.
const LAST_WORDS: Duration = Duration::from_secs(1);

type Answer<T> = Result<Response<T>, Status>;

/// Serves CRI's pods and containers.
pub(crate) struct Runtime {
    pub(crate) app: App,
}

#[tonic::async_trait]
impl RuntimeService for Runtime {
    // ---- The server itself ----

    async fn version(&self, _: Request<v1::VersionRequest>) -> Answer<v1::VersionResponse> {
        Ok(Response::new(v1::VersionResponse {
            // Fixed by CRI; the other three are the real ones.
            version: "0.1.0".to_owned(),
            runtime_name: "linkspan".to_owned(),
            runtime_version: crate::VERSION.to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        let handlers = self.app.pods.handlers();
        let conditions = conditions(&handlers, self.app.network.readiness());
        let info = if request.into_inner().verbose { self.verbose_info(&handlers) } else { BTreeMap::new() };
        // A pod on the host's network needs nothing more: what it sees of /sys is the host's.
        let user_namespaces_host_network = handlers.iter().any(|handler| handler.user_namespaces);
        Ok(Response::new(v1::StatusResponse {
            status: Some(v1::RuntimeStatus {
                conditions: conditions
                    .into_iter()
                    .map(|condition| v1::RuntimeCondition {
                        r#type: condition.name.to_owned(),
                        status: condition.status,
                        reason: condition.reason.to_owned(),
                        message: condition.message,
                    })
                    .collect(),
            }),
            info,
            runtime_handlers: handlers
                .into_iter()
                .map(|handler| v1::RuntimeHandler {
                    name: handler.name,
                    features: Some(v1::RuntimeHandlerFeatures {
                        recursive_read_only_mounts: handler.recursive_read_only_mounts,
                        user_namespaces: handler.user_namespaces,
                    }),
                })
                .collect(),
            // The scheduler relies on these: say only what is so.
            features: Some(v1::RuntimeFeatures {
                supplemental_groups_policy: true,
                user_namespaces_host_network,
                mount_options: true,
            }),
        }))
    }

    async fn runtime_config(
        &self,
        _: Request<v1::RuntimeConfigRequest>,
    ) -> Answer<v1::RuntimeConfigResponse> {
        let driver = match self.app.config.cgroup.driver {
            CgroupDriver::Cgroupfs => v1::CgroupDriver::Cgroupfs,
            CgroupDriver::Systemd => v1::CgroupDriver::Systemd,
        };
        let linux = v1::LinuxRuntimeConfiguration { cgroup_driver: driver.into() };
        Ok(Response::new(v1::RuntimeConfigResponse { linux: Some(linux) }))
    }

    async fn update_runtime_config(
        &self,
        request: Request<v1::UpdateRuntimeConfigRequest>,
    ) -> Answer<v1::UpdateRuntimeConfigResponse> {
        let cidr = node::pod_cidr(request.into_inner()).inside("runtime_config.network_config")?;
        // The kubelet sends an empty range until the node has one.
        if !cidr.is_empty() {
            self.app.network.set_pod_cidr(&cidr).await.map_err(status::of)?;
        }
        Ok(Response::new(v1::UpdateRuntimeConfigResponse {}))
    }

    // ---- Pods ----

    async fn run_pod_sandbox(
        &self,
        request: Request<v1::RunPodSandboxRequest>,
    ) -> Answer<v1::RunPodSandboxResponse> {
        let request = request.into_inner();
        let config = sandbox::config(required(request.config, "config")?).inside("config")?;
        let id = self.app.pods.run_sandbox(config, &request.runtime_handler).await.map_err(status::of)?;
        concerns_sandbox(id.as_str());
        Ok(Response::new(v1::RunPodSandboxResponse { pod_sandbox_id: id.into() }))
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<v1::StopPodSandboxRequest>,
    ) -> Answer<v1::StopPodSandboxResponse> {
        let budget = deadline(&request);
        let id = not_empty(request.into_inner().pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&id);
        self.app.pods.stop_sandbox(&id, budget).await.map_err(status::of)?;
        Ok(Response::new(v1::StopPodSandboxResponse {}))
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<v1::RemovePodSandboxRequest>,
    ) -> Answer<v1::RemovePodSandboxResponse> {
        let id = not_empty(request.into_inner().pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&id);
        self.app.pods.remove_sandbox(&id).await.map_err(status::of)?;
        Ok(Response::new(v1::RemovePodSandboxResponse {}))
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<v1::PodSandboxStatusRequest>,
    ) -> Answer<v1::PodSandboxStatusResponse> {
        let request = request.into_inner();
        let id = not_empty(request.pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&id);
        let (found, containers, at) = self.app.pods.sandbox_with_containers(&id).map_err(status::of)?;
        let info = if request.verbose { info(self.app.pods.sandbox_info(&id))? } else { BTreeMap::new() };
        Ok(Response::new(v1::PodSandboxStatusResponse {
            status: Some(sandbox::status(found)),
            info,
            // A kubelet that follows GetContainerEvents takes these instead of a ContainerStatus for each.
            containers_statuses: containers.into_iter().map(container::status).collect(),
            timestamp: at.0,
        }))
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<v1::ListPodSandboxRequest>,
    ) -> Answer<v1::ListPodSandboxResponse> {
        let items = self.sandboxes(request.into_inner().filter)?;
        Ok(Response::new(v1::ListPodSandboxResponse { items }))
    }

    type StreamPodSandboxesStream = Batches<v1::StreamPodSandboxesResponse>;

    async fn stream_pod_sandboxes(
        &self,
        request: Request<v1::StreamPodSandboxesRequest>,
    ) -> Answer<Self::StreamPodSandboxesStream> {
        let found = self.sandboxes(request.into_inner().filter)?;
        Ok(batches(found, |pod_sandboxes| v1::StreamPodSandboxesResponse { pod_sandboxes }))
    }

    async fn update_pod_sandbox_resources(
        &self,
        request: Request<v1::UpdatePodSandboxResourcesRequest>,
    ) -> Answer<v1::UpdatePodSandboxResourcesResponse> {
        let request = request.into_inner();
        let id = not_empty(request.pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&id);
        let wanted = pod_sandbox::SandboxResources {
            overhead: request.overhead.map(resources::resources),
            resources: request.resources.map(resources::resources),
        };
        self.app.pods.update_sandbox_resources(&id, wanted).await.map_err(status::of)?;
        Ok(Response::new(v1::UpdatePodSandboxResourcesResponse {}))
    }

    // ---- Containers ----

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Answer<v1::CreateContainerResponse> {
        let request = request.into_inner();
        let sandbox_id = not_empty(request.pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&sandbox_id);
        let config = container::config(required(request.config, "config")?).inside("config")?;
        let id = self.app.pods.create_container(&sandbox_id, config).await.map_err(status::of)?;
        concerns_container(id.as_str());
        Ok(Response::new(v1::CreateContainerResponse { container_id: id.into() }))
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Answer<v1::StartContainerResponse> {
        let id = not_empty(request.into_inner().container_id, "container_id")?;
        concerns_container(&id);
        self.app.pods.start_container(&id).await.map_err(status::of)?;
        Ok(Response::new(v1::StartContainerResponse {}))
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Answer<v1::StopContainerResponse> {
        let request = request.into_inner();
        let id = not_empty(request.container_id, "container_id")?;
        concerns_container(&id);
        let grace = seconds(request.timeout, "timeout")?;
        self.app.pods.stop_container(&id, grace).await.map_err(status::of)?;
        Ok(Response::new(v1::StopContainerResponse {}))
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Answer<v1::RemoveContainerResponse> {
        let id = not_empty(request.into_inner().container_id, "container_id")?;
        concerns_container(&id);
        self.app.pods.remove_container(&id).await.map_err(status::of)?;
        Ok(Response::new(v1::RemoveContainerResponse {}))
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Answer<v1::ListContainersResponse> {
        let containers = self.containers(request.into_inner().filter)?;
        Ok(Response::new(v1::ListContainersResponse { containers }))
    }

    type StreamContainersStream = Batches<v1::StreamContainersResponse>;

    async fn stream_containers(
        &self,
        request: Request<v1::StreamContainersRequest>,
    ) -> Answer<Self::StreamContainersStream> {
        let found = self.containers(request.into_inner().filter)?;
        Ok(batches(found, |containers| v1::StreamContainersResponse { containers }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Answer<v1::ContainerStatusResponse> {
        let request = request.into_inner();
        let id = not_empty(request.container_id, "container_id")?;
        concerns_container(&id);
        let found = self.app.pods.container_status(&id).map_err(status::of)?;
        let info =
            if request.verbose { info(self.app.pods.container_info(&id).await)? } else { BTreeMap::new() };
        Ok(Response::new(v1::ContainerStatusResponse { status: Some(container::status(found)), info }))
    }

    async fn update_container_resources(
        &self,
        request: Request<v1::UpdateContainerResourcesRequest>,
    ) -> Answer<v1::UpdateContainerResourcesResponse> {
        let request = request.into_inner();
        let id = not_empty(request.container_id, "container_id")?;
        concerns_container(&id);
        let resources = resources::resources(required(request.linux, "linux")?);
        self.app.pods.update_container_resources(&id, resources).await.map_err(status::of)?;
        Ok(Response::new(v1::UpdateContainerResourcesResponse {}))
    }

    async fn reopen_container_log(
        &self,
        request: Request<v1::ReopenContainerLogRequest>,
    ) -> Answer<v1::ReopenContainerLogResponse> {
        let id = not_empty(request.into_inner().container_id, "container_id")?;
        concerns_container(&id);
        self.app.pods.reopen_container_log(&id).await.map_err(status::of)?;
        Ok(Response::new(v1::ReopenContainerLogResponse {}))
    }

    async fn exec_sync(&self, request: Request<v1::ExecSyncRequest>) -> Answer<v1::ExecSyncResponse> {
        let request = request.into_inner();
        let id = not_empty(request.container_id, "container_id")?;
        concerns_container(&id);
        let timeout = Some(seconds(request.timeout, "timeout")?).filter(|timeout| !timeout.is_zero());
        let output = self.app.pods.exec_sync(&id, request.cmd, timeout).await.map_err(status::of)?;
        Ok(Response::new(v1::ExecSyncResponse {
            stdout: output.stdout,
            stderr: output.stderr,
            exit_code: output.exit_code,
        }))
    }

    // ---- Streaming: each answers a URL on our own server ----

    async fn exec(&self, request: Request<v1::ExecRequest>) -> Answer<v1::ExecResponse> {
        let request = request.into_inner();
        let streams = streaming::exec(&request)?;
        let id = not_empty(request.container_id, "container_id")?;
        concerns_container(&id);
        let container = self.app.pods.check_exec(&id, &request.cmd).map_err(status::of)?;
        let url = self.url(Ticket::Exec { container, command: request.cmd, streams })?;
        Ok(Response::new(v1::ExecResponse { url }))
    }

    async fn attach(&self, request: Request<v1::AttachRequest>) -> Answer<v1::AttachResponse> {
        let request = request.into_inner();
        let streams = streaming::attach(&request)?;
        let id = not_empty(request.container_id, "container_id")?;
        concerns_container(&id);
        let (container, tty) = self.app.pods.check_attach(&id).map_err(status::of)?;
        streaming::same_tty(streams, tty)?;
        let url = self.url(Ticket::Attach { container, streams })?;
        Ok(Response::new(v1::AttachResponse { url }))
    }

    async fn port_forward(
        &self,
        request: Request<v1::PortForwardRequest>,
    ) -> Answer<v1::PortForwardResponse> {
        let request = request.into_inner();
        let id = not_empty(request.pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&id);
        let ports = streaming::ports(&request.port)?;
        let sandbox = self.app.pods.check_port_forward(&id).map_err(status::of)?;
        let url = self.url(Ticket::PortForward { sandbox, ports })?;
        Ok(Response::new(v1::PortForwardResponse { url }))
    }

    // ---- Statistics ----

    async fn container_stats(
        &self,
        request: Request<v1::ContainerStatsRequest>,
    ) -> Answer<v1::ContainerStatsResponse> {
        let id = not_empty(request.into_inner().container_id, "container_id")?;
        concerns_container(&id);
        let found = self.app.pods.container_stats(&id).await.map_err(status::of)?;
        Ok(Response::new(v1::ContainerStatsResponse { stats: Some(stats::container(found)) }))
    }

    async fn list_container_stats(
        &self,
        request: Request<v1::ListContainerStatsRequest>,
    ) -> Answer<v1::ListContainerStatsResponse> {
        let stats = self.container_stats_of(request.into_inner().filter).await;
        Ok(Response::new(v1::ListContainerStatsResponse { stats }))
    }

    type StreamContainerStatsStream = Batches<v1::StreamContainerStatsResponse>;

    async fn stream_container_stats(
        &self,
        request: Request<v1::StreamContainerStatsRequest>,
    ) -> Answer<Self::StreamContainerStatsStream> {
        let found = self.container_stats_of(request.into_inner().filter).await;
        Ok(batches(found, |container_stats| v1::StreamContainerStatsResponse { container_stats }))
    }

    async fn pod_sandbox_stats(
        &self,
        request: Request<v1::PodSandboxStatsRequest>,
    ) -> Answer<v1::PodSandboxStatsResponse> {
        let id = not_empty(request.into_inner().pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&id);
        let found = self.app.pods.sandbox_stats(&id).await.map_err(status::of)?;
        Ok(Response::new(v1::PodSandboxStatsResponse { stats: Some(stats::sandbox(found)) }))
    }

    async fn list_pod_sandbox_stats(
        &self,
        request: Request<v1::ListPodSandboxStatsRequest>,
    ) -> Answer<v1::ListPodSandboxStatsResponse> {
        let stats = self.sandbox_stats_of(request.into_inner().filter).await;
        Ok(Response::new(v1::ListPodSandboxStatsResponse { stats }))
    }

    type StreamPodSandboxStatsStream = Batches<v1::StreamPodSandboxStatsResponse>;

    async fn stream_pod_sandbox_stats(
        &self,
        request: Request<v1::StreamPodSandboxStatsRequest>,
    ) -> Answer<Self::StreamPodSandboxStatsStream> {
        let found = self.sandbox_stats_of(request.into_inner().filter).await;
        Ok(batches(found, |pod_sandbox_stats| v1::StreamPodSandboxStatsResponse { pod_sandbox_stats }))
    }

    // ---- Metrics ----

    async fn list_metric_descriptors(
        &self,
        _: Request<v1::ListMetricDescriptorsRequest>,
    ) -> Answer<v1::ListMetricDescriptorsResponse> {
        Ok(Response::new(v1::ListMetricDescriptorsResponse { descriptors: metrics::descriptors() }))
    }

    async fn list_pod_sandbox_metrics(
        &self,
        _: Request<v1::ListPodSandboxMetricsRequest>,
    ) -> Answer<v1::ListPodSandboxMetricsResponse> {
        Ok(Response::new(v1::ListPodSandboxMetricsResponse { pod_metrics: self.sandbox_metrics().await }))
    }

    type StreamPodSandboxMetricsStream = Batches<v1::StreamPodSandboxMetricsResponse>;

    async fn stream_pod_sandbox_metrics(
        &self,
        _: Request<v1::StreamPodSandboxMetricsRequest>,
    ) -> Answer<Self::StreamPodSandboxMetricsStream> {
        let found = self.sandbox_metrics().await;
        Ok(batches(found, |pod_sandbox_metrics| v1::StreamPodSandboxMetricsResponse { pod_sandbox_metrics }))
    }

    // ---- Events ----

    type GetContainerEventsStream = Followed<v1::ContainerEventResponse>;

    async fn get_container_events(
        &self,
        _: Request<v1::GetEventsRequest>,
    ) -> Answer<Self::GetContainerEventsStream> {
        let events = follow(self.app.pods.subscribe(), self.app.ending.subscribe(), event::event);
        Ok(Response::new(events))
    }

    // ---- Checkpoints ----

    async fn checkpoint_container(
        &self,
        request: Request<v1::CheckpointContainerRequest>,
    ) -> Answer<v1::CheckpointContainerResponse> {
        let request = request.into_inner();
        let id = not_empty(request.container_id, "container_id")?;
        concerns_container(&id);
        let timeout = Some(seconds(request.timeout, "timeout")?).filter(|timeout| !timeout.is_zero());
        self.app.pods.checkpoint_container(&id, &request.location, timeout).await.map_err(status::of)?;
        Ok(Response::new(v1::CheckpointContainerResponse {}))
    }

    async fn checkpoint_pod(
        &self,
        request: Request<v1::CheckpointPodRequest>,
    ) -> Answer<v1::CheckpointPodResponse> {
        let budget = deadline(&request).map(|budget| budget.saturating_sub(LAST_WORDS));
        let request = request.into_inner();
        let id = not_empty(request.pod_sandbox_id, "pod_sandbox_id")?;
        concerns_sandbox(&id);
        let (containers, options) = (&request.container_ids, &request.options);
        let done = self.app.pods.checkpoint_pod(&id, &request.output_path, containers, options, budget);
        done.await.map_err(status::of)?;
        Ok(Response::new(v1::CheckpointPodResponse {}))
    }

    async fn restore_pod(&self, request: Request<v1::RestorePodRequest>) -> Answer<v1::RestorePodResponse> {
        let request = checkpoint::restore(request.into_inner())?;
        let restored = self.app.pods.restore_pod(request).await.map_err(status::of)?;
        concerns_sandbox(restored.sandbox.as_str());
        Ok(Response::new(checkpoint::restored(restored)))
    }
}

/// What a List and its Stream have in common.
impl Runtime {
    fn sandboxes(&self, filter: Option<v1::PodSandboxFilter>) -> Result<Vec<v1::PodSandbox>, Status> {
        let found = self.app.pods.list_sandboxes(&filter::sandboxes(filter)?);
        Ok(found.into_iter().map(sandbox::list_item).collect())
    }

    fn containers(&self, filter: Option<v1::ContainerFilter>) -> Result<Vec<v1::Container>, Status> {
        let found = self.app.pods.list_containers(&filter::containers(filter)?);
        Ok(found.into_iter().map(container::list_item).collect())
    }

    async fn container_stats_of(&self, filter: Option<v1::ContainerStatsFilter>) -> Vec<v1::ContainerStats> {
        let found = self.app.pods.list_container_stats(&filter::container_stats(filter)).await;
        found.into_iter().map(stats::container).collect()
    }

    async fn sandbox_stats_of(&self, filter: Option<v1::PodSandboxStatsFilter>) -> Vec<v1::PodSandboxStats> {
        let found = self.app.pods.list_sandbox_stats(&filter::sandbox_stats(filter)).await;
        found.into_iter().map(stats::sandbox).collect()
    }

    async fn sandbox_metrics(&self) -> Vec<v1::PodSandboxMetrics> {
        self.app.pods.list_sandbox_metrics().await.into_iter().map(metrics::sandbox).collect()
    }
}

impl Runtime {
    fn url(&self, ticket: Ticket) -> Result<String, Status> {
        self.app.desk.url(ticket).map_err(status::of)
    }

    /// What is under way, in words.
    fn operations(&self) -> Vec<serde_json::Value> {
        let told = self.app.pods.operations().into_iter();
        let one = |operation: pod_sandbox::Operation| serde_json::json!({ "subject": operation.subject, "operation": operation.to_string() });
        told.map(one).collect()
    }

    /// What `crictl info` shows beside the conditions.
    fn verbose_info(&self, handlers: &[pod_sandbox::model::HandlerStatus]) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("config".to_owned(), self.app.config_json.to_string()),
            ("cni".to_owned(), self.app.network.verbose().to_string()),
            ("operations".to_owned(), serde_json::json!(self.operations()).to_string()),
            // With what is wrong with a handler, for which the answer itself has no field.
            ("handlers".to_owned(), serde_json::json!(handlers).to_string()),
        ])
    }
}

/// CRI leaves the form open; tools read JSON under this key.
fn info(found: Result<serde_json::Value, pod_sandbox::Error>) -> Result<BTreeMap<String, String>, Status> {
    Ok(BTreeMap::from([("info".to_owned(), found.map_err(status::of)?.to_string())]))
}

/// What the client has left for this call (gRPC over HTTP/2, "Timeout"); `None`: all the time in the world.
fn deadline<T>(request: &Request<T>) -> Option<Duration> {
    let text = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number.saturating_mul(3600)),
        "M" => Duration::from_secs(number.saturating_mul(60)),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}
