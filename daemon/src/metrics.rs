//! What the daemon counts about itself, in OpenMetrics text.

mod endpoint;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use endpoint::serve;

/// All metrics. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    rpc_duration: Family<RpcLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: &'static str,
    code: &'static str,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("linkspan");
        // 0.5 ms to 262 s: from Version to a slow pull.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_5, 2.0, 20));
        let rpc_duration = Family::new_with_constructor(histogram);
        registry.register_with_unit(
            "rpc_duration",
            "Time from a request's head to the answer's, by RPC and gRPC code",
            Unit::Seconds,
            rpc_duration.clone(),
        );
        registry.register("build", "This release", Info::new(vec![("version", crate::VERSION)]));
        Self { registry: Arc::new(registry), rpc_duration }
    }

    /// One answered (or abandoned) call.
    pub(crate) fn answered(&self, rpc: &'static str, code: &'static str, after: Duration) {
        self.rpc_duration.get_or_create(&RpcLabels { rpc, code }).observe(after.as_secs_f64());
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
