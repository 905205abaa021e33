//! The metrics: names, helps and labels as cAdvisor has them, and where the values come from.

use linkspan_cri_api::v1::MetricType;
use linkspan_pod_sandbox::model::{ContainerMetrics, GroupCounters, Timestamp};
use linkspan_pod_sandbox::namespaces::InterfaceStats;
use linkspan_runtime_oci::cgroup::{DeviceIo, PressureData, Psi};

/// One metric.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    /// After those that all have.
    pub(super) labels: &'static [&'static str],
    pub(super) read: Read,
}

/// The row's labels, and what is measured under them.
pub(super) type Values = Vec<(Vec<String>, u64)>;

/// What a value is read from. No value, no sample.
pub(super) enum Read {
    /// Of pods and of containers.
    Group(fn(&GroupCounters) -> Values),
    /// Of containers only.
    Container(fn(&ContainerMetrics) -> Values),
    /// Of pods only, one for each interface.
    Interface(fn(&InterfaceStats) -> u64),
}

const COUNTER: MetricType = MetricType::Counter;
const GAUGE: MetricType = MetricType::Gauge;

#[rustfmt::skip] // A table is read by columns.
pub(super) const TABLE: &[Row] = &[
    Row { name: "container_last_seen", kind: GAUGE, labels: &[],
          help: "Last time a container was seen by the exporter",
          read: Read::Group(|g| one(seconds(at(g)))) },
    Row { name: "container_start_time_seconds", kind: GAUGE, labels: &[],
          help: "Start time of the container since unix epoch in seconds.",
          read: Read::Group(|g| one(seconds(nanoseconds(g.started_at)))) },
    // ---- CPU ----
    Row { name: "container_cpu_user_seconds_total", kind: COUNTER, labels: &[],
          help: "Cumulative user cpu time consumed in seconds.",
          read: Read::Group(|g| one(seconds(g.counters.cpu_user_ns))) },
    Row { name: "container_cpu_system_seconds_total", kind: COUNTER, labels: &[],
          help: "Cumulative system cpu time consumed in seconds.",
          read: Read::Group(|g| one(seconds(g.counters.cpu_system_ns))) },
    Row { name: "container_cpu_usage_seconds_total", kind: COUNTER, labels: &["cpu"],
          help: "Cumulative cpu time consumed in seconds.",
          read: Read::Group(|g| vec![(vec!["total".to_owned()], seconds(g.counters.stats.cpu_usage_ns))]) },
    Row { name: "container_cpu_cfs_periods_total", kind: COUNTER, labels: &[],
          help: "Number of elapsed enforcement period intervals.",
          read: Read::Group(|g| one(g.counters.throttling.periods)) },
    Row { name: "container_cpu_cfs_throttled_periods_total", kind: COUNTER, labels: &[],
          help: "Number of throttled period intervals.",
          read: Read::Group(|g| one(g.counters.throttling.throttled_periods)) },
    Row { name: "container_cpu_cfs_throttled_seconds_total", kind: COUNTER, labels: &[],
          help: "Total time duration the container has been throttled.",
          read: Read::Group(|g| one(seconds(g.counters.throttling.throttled_ns))) },
    // ---- Memory ----
    Row { name: "container_memory_cache", kind: GAUGE, labels: &[],
          help: "Number of bytes of page cache memory.",
          read: Read::Group(|g| one(g.counters.memory.cache_bytes)) },
    Row { name: "container_memory_rss", kind: GAUGE, labels: &[],
          help: "Size of RSS in bytes.",
          read: Read::Group(|g| one(g.counters.stats.rss_bytes)) },
    Row { name: "container_memory_kernel_usage", kind: GAUGE, labels: &[],
          help: "Size of kernel memory allocated in bytes.",
          read: Read::Group(|g| one(g.counters.memory.kernel_bytes)) },
    Row { name: "container_memory_mapped_file", kind: GAUGE, labels: &[],
          help: "Size of memory mapped files in bytes.",
          read: Read::Group(|g| one(g.counters.memory.mapped_file_bytes)) },
    Row { name: "container_memory_swap", kind: GAUGE, labels: &[],
          help: "Container swap usage in bytes.",
          read: Read::Group(|g| one(g.counters.stats.swap_usage_bytes.unwrap_or(0))) },
    Row { name: "container_memory_failcnt", kind: COUNTER, labels: &[],
          help: "Number of memory usage hits limits",
          read: Read::Group(|g| one(g.counters.memory.limit_hits)) },
    Row { name: "container_memory_usage_bytes", kind: GAUGE, labels: &[],
          help: "Current memory usage in bytes, including all memory regardless of when it was accessed",
          read: Read::Group(|g| one(g.counters.stats.memory_usage_bytes)) },
    Row { name: "container_memory_max_usage_bytes", kind: GAUGE, labels: &[],
          help: "Maximum memory usage recorded in bytes",
          read: Read::Group(|g| one(g.counters.memory.max_usage_bytes)) },
    Row { name: "container_memory_working_set_bytes", kind: GAUGE, labels: &[],
          help: "Current working set in bytes.",
          read: Read::Group(|g| one(g.counters.stats.memory_working_set_bytes)) },
    Row { name: "container_memory_total_active_file_bytes", kind: GAUGE, labels: &[],
          help: "Current total active file in bytes.",
          read: Read::Group(|g| one(g.counters.memory.active_file_bytes)) },
    Row { name: "container_memory_total_inactive_file_bytes", kind: GAUGE, labels: &[],
          help: "Current total inactive file in bytes.",
          read: Read::Group(|g| one(g.counters.memory.inactive_file_bytes)) },
    Row { name: "container_memory_failures_total", kind: COUNTER, labels: &["failure_type", "scope"],
          help: "Cumulative count of memory allocation failures.",
          read: Read::Group(faults) },
    Row { name: "container_oom_events_total", kind: COUNTER, labels: &[],
          help: "Count of out of memory events observed for the container",
          read: Read::Group(|g| one(g.counters.memory.oom_kills)) },
    // ---- Block devices and the writable layer ----
    Row { name: "container_fs_reads_bytes_total", kind: COUNTER, labels: &["device"],
          help: "Cumulative count of bytes read",
          read: Read::Group(|g| devices(g, |io| io.read_bytes)) },
    Row { name: "container_fs_reads_total", kind: COUNTER, labels: &["device"],
          help: "Cumulative count of reads completed",
          read: Read::Group(|g| devices(g, |io| io.reads)) },
    Row { name: "container_fs_writes_bytes_total", kind: COUNTER, labels: &["device"],
          help: "Cumulative count of bytes written",
          read: Read::Group(|g| devices(g, |io| io.write_bytes)) },
    Row { name: "container_fs_writes_total", kind: COUNTER, labels: &["device"],
          help: "Cumulative count of writes completed",
          read: Read::Group(|g| devices(g, |io| io.writes)) },
    Row { name: "container_blkio_device_usage_total", kind: COUNTER, labels: &["device", "major", "minor", "operation"],
          help: "Blkio device bytes usage",
          read: Read::Group(block_io) },
    Row { name: "container_fs_usage_bytes", kind: GAUGE, labels: &["device"],
          help: "Number of bytes that are consumed by the container on this filesystem.",
          read: Read::Container(layer) },
    // ---- Processes ----
    Row { name: "container_processes", kind: GAUGE, labels: &[],
          help: "Number of processes running inside the container.",
          read: Read::Group(|g| one(g.counters.pids.len() as u64)) },
    Row { name: "container_threads", kind: GAUGE, labels: &[],
          help: "Number of threads running inside the container",
          read: Read::Group(|g| one(g.counters.stats.pids_current)) },
    Row { name: "container_threads_max", kind: GAUGE, labels: &[],
          help: "Maximum number of threads allowed inside the container, infinity if value is zero",
          read: Read::Group(|g| one(g.counters.stats.pids_limit.unwrap_or(0))) },
    Row { name: "container_file_descriptors", kind: GAUGE, labels: &[],
          help: "Number of open file descriptors for the container.",
          read: Read::Container(|c| one(c.open_files.descriptors)) },
    Row { name: "container_sockets", kind: GAUGE, labels: &[],
          help: "Number of open sockets for the container.",
          read: Read::Container(|c| one(c.open_files.sockets)) },
    Row { name: "container_ulimits_soft", kind: GAUGE, labels: &["ulimit"],
          help: "Soft ulimit values for the container root process. Unlimited if -1, except priority and nice",
          read: Read::Container(descriptor_limit) },
    // ---- Limits ----
    Row { name: "container_spec_cpu_period", kind: GAUGE, labels: &[],
          help: "CPU period of the container.",
          read: Read::Group(|g| set(g.limits.cpu_period)) },
    Row { name: "container_spec_cpu_quota", kind: GAUGE, labels: &[],
          help: "CPU quota of the container.",
          read: Read::Group(|g| set(g.limits.cpu_quota)) },
    Row { name: "container_spec_cpu_shares", kind: GAUGE, labels: &[],
          help: "CPU share of the container.",
          read: Read::Group(|g| set(g.limits.cpu_shares)) },
    Row { name: "container_spec_memory_limit_bytes", kind: GAUGE, labels: &[],
          help: "Memory limit for the container.",
          read: Read::Group(|g| one(limited(g.limits.memory_limit_bytes))) },
    Row { name: "container_spec_memory_swap_limit_bytes", kind: GAUGE, labels: &[],
          help: "Memory swap limit for the container.",
          read: Read::Group(|g| one(limited(g.limits.memory_swap_limit_bytes))) },
    Row { name: "container_spec_memory_reservation_limit_bytes", kind: GAUGE, labels: &[],
          help: "Memory reservation limit for the container.",
          read: Read::Group(|g| one(g.counters.memory.reservation_bytes)) },
    // ---- Pressure, on cgroup v2 only ----
    Row { name: "container_pressure_cpu_stalled_seconds_total", kind: COUNTER, labels: &[],
          help: "Total time duration no tasks in the container could make progress due to CPU congestion.",
          read: Read::Group(|g| pressure(g, |psi| psi.cpu.full)) },
    Row { name: "container_pressure_cpu_waiting_seconds_total", kind: COUNTER, labels: &[],
          help: "Total time duration tasks in the container have waited due to CPU congestion.",
          read: Read::Group(|g| pressure(g, |psi| psi.cpu.some)) },
    Row { name: "container_pressure_memory_stalled_seconds_total", kind: COUNTER, labels: &[],
          help: "Total time duration no tasks in the container could make progress due to memory congestion.",
          read: Read::Group(|g| pressure(g, |psi| psi.memory.full)) },
    Row { name: "container_pressure_memory_waiting_seconds_total", kind: COUNTER, labels: &[],
          help: "Total time duration tasks in the container have waited due to memory congestion.",
          read: Read::Group(|g| pressure(g, |psi| psi.memory.some)) },
    Row { name: "container_pressure_io_stalled_seconds_total", kind: COUNTER, labels: &[],
          help: "Total time duration no tasks in the container could make progress due to IO congestion.",
          read: Read::Group(|g| pressure(g, |psi| psi.io.full)) },
    Row { name: "container_pressure_io_waiting_seconds_total", kind: COUNTER, labels: &[],
          help: "Total time duration tasks in the container have waited due to IO congestion.",
          read: Read::Group(|g| pressure(g, |psi| psi.io.some)) },
    // ---- Network, of the pod as a whole ----
    Row { name: "container_network_receive_bytes_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of bytes received",
          read: Read::Interface(|i| i.rx_bytes) },
    Row { name: "container_network_receive_packets_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of packets received",
          read: Read::Interface(|i| i.rx_packets) },
    Row { name: "container_network_receive_packets_dropped_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of packets dropped while receiving",
          read: Read::Interface(|i| i.rx_dropped) },
    Row { name: "container_network_receive_errors_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of errors encountered while receiving",
          read: Read::Interface(|i| i.rx_errors) },
    Row { name: "container_network_transmit_bytes_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of bytes transmitted",
          read: Read::Interface(|i| i.tx_bytes) },
    Row { name: "container_network_transmit_packets_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of packets transmitted",
          read: Read::Interface(|i| i.tx_packets) },
    Row { name: "container_network_transmit_packets_dropped_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of packets dropped while transmitting",
          read: Read::Interface(|i| i.tx_dropped) },
    Row { name: "container_network_transmit_errors_total", kind: COUNTER, labels: &["interface"],
          help: "Cumulative count of errors encountered while transmitting",
          read: Read::Interface(|i| i.tx_errors) },
];

fn one(value: u64) -> Values {
    vec![(Vec::new(), value)]
}

fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds / 1_000_000_000
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.0).unwrap_or_default()
}

fn at(group: &GroupCounters) -> u64 {
    nanoseconds(group.counters.stats.at)
}

/// Nothing for what is unlimited or not known.
fn set(limit: i64) -> Values {
    u64::try_from(limit).ok().filter(|limit| *limit > 0).map(one).unwrap_or_default()
}

/// Zero for what is unlimited.
fn limited(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(0)
}

fn faults(group: &GroupCounters) -> Values {
    let (stats, own) = (&group.counters.stats, &group.counters.memory);
    let of = |kind: &str, scope: &str, count: u64| (vec![kind.to_owned(), scope.to_owned()], count);
    vec![
        of("pgfault", "container", own.own_page_faults),
        of("pgmajfault", "container", own.own_major_page_faults),
        of("pgfault", "hierarchy", stats.page_faults),
        of("pgmajfault", "hierarchy", stats.major_page_faults),
    ]
}

fn devices(group: &GroupCounters, value: fn(&DeviceIo) -> u64) -> Values {
    group.counters.devices.iter().map(|io| (vec![io.device.clone()], value(io))).collect()
}

fn block_io(group: &GroupCounters) -> Values {
    let of = |io: &DeviceIo, operation: &str, bytes: u64| {
        (vec![io.device.clone(), io.major.to_string(), io.minor.to_string(), operation.to_owned()], bytes)
    };
    let of_each = group.counters.devices.iter();
    of_each.flat_map(|io| [of(io, "Read", io.read_bytes), of(io, "Write", io.write_bytes)]).collect()
}

/// It lies in a directory among others: the device is not told.
fn layer(container: &ContainerMetrics) -> Values {
    container.writable_layer.iter().map(|layer| (vec![String::new()], layer.used_bytes)).collect()
}

/// Without a limit there is no sample: the value is unsigned.
fn descriptor_limit(container: &ContainerMetrics) -> Values {
    container.descriptor_limit.iter().map(|limit| (vec!["max_open_files".to_owned()], *limit)).collect()
}

fn pressure(group: &GroupCounters, of: fn(&Psi) -> PressureData) -> Values {
    group.counters.stats.psi.iter().flat_map(|psi| one(seconds(of(psi).total_ns))).collect()
}
