//! One container as an OCI runtime sees it.
//!
//! Owns:
//! - the OCI spec of a container, built purely from plain data ([`spec`]), what devices ([`cdi`]) and the node's hooks
//!   ([`oci_hooks`]) change in it, its seccomp filter ([`seccomp`]) and its
//!   user as the root file system's passwd and group say ([`user`]);
//! - looking into the root file system, which somebody else filled ([`rooted`]);
//! - the AppArmor profile of containers ([`apparmor`]);
//! - calls to the runtime's command line ([`runtime`]) and what a runtime can do;
//! - the monitor's client side, exit records, exec and its terminals, attaching;
//! - cgroups: groups, limits, statistics, out-of-memory counts ([`cgroup`]).
//!
//! Must never know:
//! - pods, images, networks and their names;
//! - CRI, gRPC and protobuf;
//! - where records are kept, or that there is a kubelet.

pub mod apparmor;
pub mod cdi;
pub mod cgroup;
mod console_socket;
mod error;
mod exec_sync;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod host;
pub mod monitor;
pub mod oci_hooks;
pub mod open_files;
pub mod process;
pub mod rooted;
pub mod runtime;
pub mod seccomp;
pub mod spec;
pub mod terminal;
mod timestamp;
pub mod user;

pub use cgroup::{CgroupCounters, CgroupMode, CgroupStats, Cgroups};
pub use console_socket::ConsoleSocket;
pub use error::Error;
pub use exec_sync::{ExecOutput, exec_sync};
pub use linkspan_monitor::crash_point;
pub use monitor::{
    AttachStdio, CreateRequest, Event, ExecExit, ExecRequest, ExecStdio, Exit, Monitor, MonitorSpec,
    PauseSpec, read_exit,
};
pub use open_files::{OpenFiles, descriptor_limit};
pub use process::{PidFd, Process};
pub use runtime::{Features, Runtime};
pub use spec::{HugepageLimit, Resources, SpecInput};
pub use terminal::{Terminal, TerminalSize};
pub use timestamp::Timestamp;
pub use user::ResolvedUser;
