//! What the daemon and a pod's monitor say to each other, shared by both sides.
//!
//! Owns:
//! - the frames, calls and events of the monitor's socket, their version and their bounds ([`protocol`]);
//! - the exit record, which the monitor writes and the daemon reads, alive or not;
//! - pause, the program: the monitor runs it, the daemon lays it into a sandbox whose process a runtime makes;
//! - how a process is named so that a reused PID is never taken for it;
//! - the instants at which a test may end either of both ([`crash_point`]).
//!
//! Must never know:
//! - OCI specs, cgroup layouts, pods, images, CRI: a call carries ready command lines and paths;
//! - tokio: the monitor is one epoll loop, and a thread that writes logs.

mod crash_point;
pub mod protocol;

#[cfg(feature = "crash-points")]
pub use crash_point::VARIABLE as CRASH_POINT_VARIABLE;
pub use crash_point::crash_point;

/// The program that holds a pod's namespaces: static, for this machine.
pub static PAUSE_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
