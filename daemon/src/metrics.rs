//! What the daemon counts about itself, in OpenMetrics text.

mod endpoint;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use linkspan_pod_sandbox::Pods;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub(crate) use endpoint::start;

use crate::streaming::request::Kind;

/// All metrics. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Arc<Registry>,
    rpc_duration: Family<RpcLabels, Histogram, fn() -> Histogram>,
    streaming_sessions: Family<SessionLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabels {
    rpc: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrphanLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
}

/// What is asked of the pods whenever somebody reads.
#[derive(Debug, Default)]
pub(crate) struct OfPods {
    /// What was collected since the daemon's start, by kind.
    pub(crate) orphans: BTreeMap<&'static str, u64>,
    /// How many of each are under way, and for how long the oldest has been.
    pub(crate) operations: BTreeMap<&'static str, (i64, Duration)>,
}

impl OfPods {
    pub(crate) fn read(pods: &Pods) -> Self {
        let mut operations = BTreeMap::new();
        for operation in pods.operations() {
            let (count, oldest) = operations.entry(operation.what).or_insert((0, Duration::ZERO));
            *count += 1;
            *oldest = operation.lasts.max(*oldest);
        }
        Self { orphans: pods.collected(), operations }
    }
}

struct Asks<F>(F);

impl<F> fmt::Debug for Asks<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asks")
    }
}

impl<F: Fn() -> OfPods + Send + Sync + 'static> Collector for Asks<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let OfPods { orphans, operations } = (self.0)();
        let help = "Things of pods that nobody owned any more and that were removed: more than none is a fault of the daemon's, or somebody's hand";
        let mut family = encoder.encode_descriptor("orphans_collected", help, None, MetricType::Counter)?;
        for (kind, count) in orphans {
            ConstCounter::new(count).encode(family.encode_family(&OrphanLabels { kind })?)?;
        }
        let help = "Changes of pods and containers that are under way";
        let mut family = encoder.encode_descriptor("operations", help, None, MetricType::Gauge)?;
        for (operation, (count, _)) in &operations {
            ConstGauge::new(*count).encode(family.encode_family(&OperationLabels { operation })?)?;
        }
        let help = "For how long the oldest of them has been under way";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("operation_oldest", help, unit, MetricType::Gauge)?;
        for (operation, (_, oldest)) in &operations {
            let oldest = ConstGauge::new(oldest.as_secs_f64());
            oldest.encode(family.encode_family(&OperationLabels { operation })?)?;
        }
        Ok(())
    }
}

/// A streaming session; it counts as open as long as this lives.
#[derive(Debug)]
pub(crate) struct SessionCount(Gauge);

impl Drop for SessionCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub(crate) fn new(of_pods: impl Fn() -> OfPods + Send + Sync + 'static) -> Self {
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
        let streaming_sessions = Family::<SessionLabels, Gauge>::default();
        registry.register(
            "streaming_sessions",
            "Streaming sessions that are open, by the RPC that began them",
            streaming_sessions.clone(),
        );
        registry.register_collector(Box::new(Asks(of_pods)));
        registry.register("build", "This release", Info::new(vec![("version", crate::VERSION)]));
        Self { registry: Arc::new(registry), rpc_duration, streaming_sessions }
    }

    /// One answered (or abandoned) call.
    pub(crate) fn answered(&self, rpc: &'static str, code: &'static str, after: Duration) {
        self.rpc_duration.get_or_create(&RpcLabels { rpc, code }).observe(after.as_secs_f64());
    }

    /// One more session is open, until what is returned is dropped.
    pub(crate) fn session(&self, rpc: &'static str) -> SessionCount {
        let gauge = self.streaming_sessions.get_or_create_owned(&SessionLabels { rpc });
        gauge.inc();
        SessionCount(gauge)
    }

    /// How many sessions are open, of all kinds.
    pub(crate) fn open_sessions(&self) -> u64 {
        let open =
            |kind: Kind| self.streaming_sessions.get_or_create(&SessionLabels { rpc: kind.rpc() }).get();
        Kind::ALL.into_iter().map(open).filter_map(|count| u64::try_from(count).ok()).sum()
    }

    /// The text that Prometheus reads.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
