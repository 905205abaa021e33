//! Every fuzz target. `docs/fuzzing.md` says what each reads and what must hold.

use linkspan_daemon::fuzz as daemon;
use linkspan_image::fuzz as image;
use linkspan_monitor::protocol::fuzz as monitor;
use linkspan_nri::fuzz as nri;
use linkspan_pod_sandbox::fuzz as pod_sandbox;
use linkspan_runtime_oci::fuzz as runtime_oci;

pub(crate) struct Target {
    /// Also of its corpus, and in its crate's property tests.
    pub(crate) name: &'static str,
    pub(crate) run: fn(&[u8]),
    /// Of an input, in bytes.
    pub(crate) max_len: usize,
}

const fn target(name: &'static str, run: fn(&[u8]), max_len: usize) -> Target {
    Target { name, run, max_len }
}

pub(crate) const TARGETS: &[Target] = &[
    target("tar", image::tar, 4096),
    target("unpack", image::unpack, 4096),
    target("compression", image::compression, 2048),
    target("document", image::document, 2048),
    target("config", image::config, 2048),
    target("challenge", image::challenge, 512),
    target("token", image::token, 512),
    target("reference", image::reference, 512),
    target("hosts_toml", image::hosts_toml, 1024),
    target("registries_conf", image::registries_conf, 1024),
    target("archive", image::archive, 4096),
    target("cni_result", pod_sandbox::cni_result, 1024),
    target("cni_conf", pod_sandbox::cni_conf, 1024),
    target("record", pod_sandbox::record, 4096),
    target("checkpoint", pod_sandbox::checkpoint, 4096),
    target("request_fields", pod_sandbox::request_fields, 4096),
    target("cdi", runtime_oci::cdi, 2048),
    target("users", runtime_oci::users, 1024),
    target("features", runtime_oci::features, 1024),
    target("protocol", monitor::protocol, 1024),
    target("process_name", monitor::process_name, 256),
    target("nri_connection", nri::connection, 1024),
    target("nri_adjustment", nri::adjustment, 1024),
    target("spdy", daemon::spdy_session, 4096),
    target("websocket", daemon::websocket_session, 4096),
    target("port_forward_pairs", daemon::port_forward_pairs, 1280),
    target("negotiation", daemon::negotiation, 1024),
    target("terminal_sizes", daemon::terminal_sizes, 2048),
    target("cri_request", daemon::cri_request, 1024),
];
