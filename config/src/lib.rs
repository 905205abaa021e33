//! Options of the daemon: one place defines each, with its documentation, default and check.
//!
//! Owns: the option definitions, where values come from (defaults, TOML files, drop-ins, environment, flags)
//! and the errors for bad ones.
//!
//! Must never know: who uses the options.

mod model;

pub use model::{
    Cgroup, CgroupDriver, Config, Container, Grpc, Handler, Image, Log, LogFormat, Metrics, Network, Runtime,
    SandboxKind,
};
