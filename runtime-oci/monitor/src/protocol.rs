//! The monitor's protocol: one `SOCK_SEQPACKET` connection, JSON frames, file descriptors beside them.
//!
//! The daemon sends [`Request`]s, the first of them [`Call::Hello`]; the monitor answers each with a [`Reply`] of the
//! same ID, in any order, and sends [`Event`]s in between. A newer connection replaces an older one. A daemon and a
//! monitor of different releases meet after an upgrade: unknown fields are ignored, an unknown call is answered with
//! [`FailureKind::UnknownCall`], and what would break older readers raises [`VERSION`].

mod exit_record;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod message;
mod process;
mod rfc3339;
mod socket;
mod sys;
mod text;

pub use exit_record::{ExitRecord, exits_dir, read_exit, remove_exit, write_exit};
pub use message::{
    Answer, AttachCall, Call, ContainerState, CreateCall, Event, ExecCall, Failure, FailureKind, FromMonitor,
    HelloAnswer, HelloCall, Outcome, PauseCall, Reply, Request, RequestId,
};
pub use process::{PidFd, Process, ProcessStat};
pub use rfc3339::Rfc3339;
pub use socket::{Frame, INLINE_LIMIT_BYTES, PAYLOAD_LIMIT_BYTES, connect, listen, pair, receive, send};
pub use text::Text;

/// The protocol of this release.
pub const VERSION: u32 = 1;
/// The oldest protocol that this release still speaks.
pub const OLDEST_VERSION: u32 = 1;
/// The socket's name in the pod's directory.
pub const SOCKET_NAME: &str = "monitor.sock";
/// The name under which pause's exit is recorded and told.
pub const PAUSE: &str = "pause";
