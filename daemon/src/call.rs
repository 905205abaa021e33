//! Around every RPC: a span, a measured time, one log line for an error, and an answer even if we panic or the client's time is over.

mod deadline;

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::FutureExt;
use http::{Request, Response};
use linkspan_cri_api::RPCS;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};

use crate::metrics::Metrics;
use crate::wire::status::{Weight, code_name, too_late, weight};

/// The code of a call that nobody waited for.
const ABANDONED: &str = "Cancelled";

/// Puts [`Call`] around the services.
#[derive(Clone)]
pub(crate) struct CallLayer {
    pub(crate) metrics: Metrics,
}

impl<S> Layer<S> for CallLayer {
    type Service = Call<S>;

    fn layer(&self, inner: S) -> Call<S> {
        Call { inner, metrics: self.metrics.clone() }
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Call<S> {
    inner: S,
    metrics: Metrics,
}

/// Names the sandbox that the present RPC is about.
pub(crate) fn concerns_sandbox(id: &str) {
    Span::current().record("sandbox_id", id);
}

/// Names the container that the present RPC is about.
pub(crate) fn concerns_container(id: &str) {
    Span::current().record("container_id", id);
}

impl<S, B> Service<Request<B>> for Call<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let rpc = rpc_name(request.uri().path());
        let span = tracing::info_span!("rpc", rpc, sandbox_id = field::Empty, container_id = field::Empty);
        let measure = Measure { rpc, code: ABANDONED, since: Instant::now(), metrics: self.metrics.clone() };
        let deadline = deadline::of(request.headers()).map(|time| tokio::time::Instant::now() + time);
        // Handlers share nothing that a panic could leave half changed: state is behind `Pods` and `Images`.
        let answer = AssertUnwindSafe(span.in_scope(|| self.inner.call(request))).catch_unwind();
        Box::pin(finish(answer, deadline, measure).instrument(span))
    }
}

async fn finish(
    answer: impl Future<Output = Result<Result<Response<Body>, Infallible>, Box<dyn std::any::Any + Send>>>,
    deadline: Option<tokio::time::Instant>,
    mut measure: Measure,
) -> Result<Response<Body>, Infallible> {
    let response = tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(Ok(response)) => bounded(response),
            Err(_) => Status::internal("a bug in linkspan ended this call; its log has the details").into_http(),
        },
        () = deadline::over(deadline) => too_late().into_http(),
    };
    // An error has its status in the head. A success has it in the trailers, and so has the late error of a stream.
    let status = Status::from_header_map(response.headers()).unwrap_or_else(|| Status::ok(""));
    measure.code = code_name(status.code());
    log(&status);
    Ok(response)
}

/// A message goes into a header, escaped, and clients refuse headers of more than 16 KiB with the whole connection: one
/// that quotes a huge name of the request is cut.
fn bounded(response: Response<Body>) -> Response<Body> {
    const MOST_BYTES: usize = 4096;
    match Status::from_header_map(response.headers()) {
        Some(status) if status.message().len() > MOST_BYTES => {
            let message = status.message();
            let end = (0..=MOST_BYTES).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
            Status::new(status.code(), format!("{} …", &message[..end])).into_http()
        }
        _ => response,
    }
}

fn log(status: &Status) {
    let (code, message) = (code_name(status.code()), status.message());
    match weight(status.code()) {
        Weight::Success => tracing::debug!("answered"),
        Weight::Question => tracing::debug!(code, message, "refused"),
        Weight::Refusal => tracing::info!(code, message, "refused"),
        Weight::Failure => tracing::warn!(code, message, "failed"),
    }
}

/// Writes the metric when the call ends, or when the client hangs up before.
struct Measure {
    rpc: &'static str,
    code: &'static str,
    since: Instant,
    metrics: Metrics,
}

impl Drop for Measure {
    fn drop(&mut self) {
        if self.code == ABANDONED {
            tracing::info!(after = ?self.since.elapsed(), "the client gave up, or its time was over");
        }
        self.metrics.answered(self.rpc, self.code, self.since.elapsed());
    }
}

/// `/runtime.v1.RuntimeService/Version` is `Version`. Only known names, so that nobody can fill the metrics.
fn rpc_name(path: &str) -> &'static str {
    const ADMIN: &[(&str, &str)] = &[
        ("/linkspan.v1.Admin/Status", "admin.Status"),
        ("/linkspan.v1.Admin/Pull", "admin.Pull"),
        ("/linkspan.v1.Admin/Load", "admin.Load"),
    ];
    let name = path.rsplit('/').next().unwrap_or("");
    if let Some(rpc) =
        path.strip_prefix("/runtime.v1.").and_then(|_| RPCS.iter().find(|rpc| rpc.name == name))
    {
        return rpc.name;
    }
    ADMIN.iter().find(|(known, _)| *known == path).map_or("unknown", |(_, name)| name)
}
