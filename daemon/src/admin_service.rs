//! `linkspan.v1.Admin`: what our own command line asks beyond CRI.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use linkspan_image::{Credentials, ImageId, PullProgress, PullRequest, PullStage};
use linkspan_pod_sandbox::Operation;
use linkspan_pod_sandbox::model::{ContainerFilter, ContainerState, SandboxFilter, SandboxState};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::admin;
use crate::app::App;
use crate::readiness::conditions;
use crate::wire::field::{BadField, not_empty};
use crate::wire::status;

type Answer<T> = Result<Response<T>, Status>;
type ProgressStream = ReceiverStream<Result<admin::Progress, Status>>;

/// Serves `linkspan status` and `linkspan image`.
pub(crate) struct Admin {
    pub(crate) app: App,
}

#[tonic::async_trait]
impl admin::admin_server::Admin for Admin {
    async fn status(&self, _: Request<admin::StatusRequest>) -> Answer<admin::StatusResponse> {
        let app = &self.app;
        let handlers = app.pods.handlers();
        let conditions = conditions(&handlers, app.network.readiness());
        let sandboxes = app.pods.list_sandboxes(&SandboxFilter::default());
        let containers = app.pods.list_containers(&ContainerFilter::default());
        let ready = sandboxes.iter().filter(|sandbox| sandbox.state == SandboxState::Ready).count();
        let running = containers.iter().filter(|one| one.state == ContainerState::Running).count();
        let default = &app.config.runtime.default;
        Ok(Response::new(admin::StatusResponse {
            version: crate::VERSION.to_owned(),
            pid: std::process::id(),
            started_at: app.started_at.0,
            conditions: conditions
                .into_iter()
                .map(|condition| admin::Condition {
                    name: condition.name.to_owned(),
                    status: condition.status,
                    reason: condition.reason.to_owned(),
                    message: condition.message,
                })
                .collect(),
            handlers: handlers
                .into_iter()
                .filter(|handler| !handler.name.is_empty())
                .map(|handler| admin::Handler {
                    default: handler.name == *default,
                    name: handler.name,
                    path: handler.path.display().to_string(),
                    recursive_read_only_mounts: handler.recursive_read_only_mounts,
                    user_namespaces: handler.user_namespaces,
                    error: handler.error.unwrap_or_default(),
                })
                .collect(),
            sandboxes_ready: ready as u64,
            sandboxes: sandboxes.len() as u64,
            containers_running: running as u64,
            containers: containers.len() as u64,
            images: app.images.list().len() as u64,
            root_dir: app.config.root_dir.display().to_string(),
            run_dir: app.config.run_dir.display().to_string(),
            socket: app.config.grpc.socket.display().to_string(),
            network: if app.config.network.builtin { "built-in bridge".to_owned() } else { "cni".to_owned() },
            cgroup_driver: format!("{:?}", app.config.cgroup.driver).to_lowercase(),
            streaming_url: app.desk.base_url().to_owned(),
            streaming_sessions: app.metrics.open_sessions(),
            config_files: app.config_files.iter().map(|path| path.display().to_string()).collect(),
        }))
    }

    async fn operations(&self, _: Request<admin::OperationsRequest>) -> Answer<admin::OperationsResponse> {
        let operations = self.app.pods.operations().into_iter().map(operation).collect();
        Ok(Response::new(admin::OperationsResponse { operations }))
    }

    async fn explain(&self, request: Request<admin::ExplainRequest>) -> Answer<admin::ExplainResponse> {
        let id = not_empty(request.into_inner().id, "id")?;
        let facts = self.app.pods.explain(&id).await.map_err(status::of)?;
        let facts = facts.into_iter().map(|(about, text)| admin::Fact { about, text }).collect();
        Ok(Response::new(admin::ExplainResponse { facts }))
    }

    type PullStream = ProgressStream;

    async fn pull(&self, request: Request<admin::PullRequest>) -> Answer<ProgressStream> {
        let request = request.into_inner();
        let reference = not_empty(request.reference, "reference")?;
        let credentials = (!request.username.is_empty())
            .then_some(Credentials::Basic { username: request.username, password: request.password });
        let (sender, progress) = watch::channel(PullProgress::default());
        let images = self.app.images.clone();
        let pull = async move {
            let request =
                PullRequest { reference, credentials: credentials.map(Into::into), progress: Some(sender) };
            images.pull(request).await.map(|id| vec![id])
        };
        Ok(Response::new(with_progress(progress, pull)))
    }

    type LoadStream = ProgressStream;

    async fn load(&self, request: Request<admin::LoadRequest>) -> Answer<ProgressStream> {
        let path = PathBuf::from(request.into_inner().path);
        if !path.is_absolute() {
            return Err(BadField::new("path", "not absolute").into());
        }
        let (sender, progress) = watch::channel(PullProgress::default());
        let images = self.app.images.clone();
        let load = async move { images.load(&path, Some(sender)).await };
        Ok(Response::new(with_progress(progress, load)))
    }
}

fn operation(operation: Operation) -> admin::Operation {
    let milliseconds = |lasts: Duration| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
    let stages = operation.stages.into_iter();
    admin::Operation {
        what: operation.what.to_owned(),
        subject: operation.subject,
        lasts_ms: milliseconds(operation.lasts),
        stages: stages
            .map(|(name, lasts)| admin::Stage { name: name.into_owned(), lasts_ms: milliseconds(lasts) })
            .collect(),
        failures: operation.failures,
        last_error: operation.last_error.unwrap_or_default(),
    }
}

/// Progress until the work ends, then its result. A client that hangs up drops the work's future.
fn with_progress(
    mut progress: watch::Receiver<PullProgress>,
    work: impl Future<Output = Result<Vec<ImageId>, linkspan_image::Error>> + Send + 'static,
) -> ProgressStream {
    let (sender, receiver) = mpsc::channel(4);
    let task = async move {
        let mut work = pin!(work);
        let result = loop {
            tokio::select! {
                result = &mut work => break result,
                Ok(()) = progress.changed() => {
                    let message = message(*progress.borrow_and_update());
                    // A slow reader misses steps and never delays the work.
                    if let Err(TrySendError::Closed(_)) = sender.try_send(Ok(message)) {
                        return;
                    }
                }
            }
        };
        let last = result.map_err(status::of).map(|ids| admin::Progress {
            stage: admin::progress::Stage::Done.into(),
            image_ids: ids.iter().map(ToString::to_string).collect(),
            ..message(*progress.borrow())
        });
        // The reader may have gone.
        let _ = sender.send(last).await;
    };
    tokio::spawn(task.in_current_span());
    ReceiverStream::new(receiver)
}

fn message(progress: PullProgress) -> admin::Progress {
    use admin::progress::Stage;
    let stage = match progress.stage {
        PullStage::Resolving => Stage::Resolving,
        PullStage::Fetching => Stage::Fetching,
        // DONE carries the result: only the last message has it.
        PullStage::Recording | PullStage::Done => Stage::Recording,
    };
    admin::Progress {
        stage: stage.into(),
        layers_done: progress.layers_done as u64,
        layers_total: progress.layers_total as u64,
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
        image_ids: Vec::new(),
    }
}
