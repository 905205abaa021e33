//! The edge of the daemon: gRPC, metrics, logs, command line.
//!
//! Owns:
//! - the CRI services on the unix socket ([`serve`]), each RPC a few lines: wire, call, wire;
//! - the conversion between protobuf and our types, and the choice of gRPC codes (`wire`);
//! - metrics, tracing and the log;
//! - the commands of `linkspan` ([`cli`]) and the private service behind them.
//!
//! Must never know:
//! - how anything is done: no registry, runtime, network plugin, cgroup or mount is touched here;
//! - what state a pod is in, but by asking.

mod accept;
mod admin_service;
mod app;
mod call;
pub mod check;
pub mod cli;
pub mod config_command;
pub mod config_flags;
mod error;
mod follow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod http1;
mod image_service;
mod logging;
mod metrics;
mod nri;
mod readiness;
mod runtime_service;
pub mod serve;
mod streaming;
mod sys;
mod wire;

pub use error::Error;
pub use streaming::TlsError;

/// `linkspan.v1`, generated from `proto/admin.proto`.
mod admin {
    #![allow(clippy::all, clippy::large_futures, clippy::too_many_lines, clippy::wildcard_imports)]
    #![allow(missing_docs, unreachable_pub, unused_qualifications)]
    tonic::include_proto!("linkspan.v1");
}

/// This release, as CRI Version and `--version` give it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
