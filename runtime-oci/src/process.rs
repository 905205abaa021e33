//! Processes of containers, named so that a reused PID is never taken for one of them.

pub use linkspan_monitor::protocol::{PidFd, Process};
