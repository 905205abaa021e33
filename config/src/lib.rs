//! Options of the daemon: one place defines each, with its documentation, default and check.
//!
//! Owns: the option definitions (`options.rs`), where values come from (defaults, TOML files, drop-ins,
//! environment, flags), their order, and the errors for bad ones.
//!
//! Must never know: who uses the options.

mod agreement;
mod define;
mod error;
mod file;
mod load;
mod nearest;
mod options;
mod place;
mod print;
mod value;

pub use define::Definition;
pub use error::Error;
pub use load::{Loaded, Origin, Sources, load};
pub use options::{
    Cgroup, Config, Container, Grpc, Image, Log, Metrics, Network, Nri, Runtime, Streaming, definitions,
};
pub use place::Place;
pub use print::{sample, show};
pub use value::container::{DeviceDefault, EnvDefault, MountDefault, Ulimit};
pub use value::{CgroupDriver, Handler, LogFormat, SandboxKind, TlsVersion};
