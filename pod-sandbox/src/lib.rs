//! Pods and containers over time: the story that the kubelet tells through CRI.
//!
//! Owns:
//! - sandboxes and containers, their states and what each request may do to them ([`Pods`]);
//! - their records on disk, recovery after a restart, the events of their changes;
//! - namespaces ([`namespaces`]) and the network of a pod ([`network`]);
//! - statistics put together from cgroups, images and interfaces.
//!
//! Must never know:
//! - gRPC, HTTP and protobuf;
//! - how an image is fetched or laid out on disk;
//! - the command line of an OCI runtime, or how its monitor works inside.

mod apparmor_profile;
mod checkpoint;
mod collect;
mod container;
mod creating;
mod entry;
mod error;
mod events;
mod exits;
mod explain;
mod find;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod golden;
mod handler;
mod host;
mod host_files;
mod kernel_state;
mod layout;
mod locks;
mod metrics;
pub mod model;
mod mounts;
pub mod namespaces;
pub mod network;
mod open;
mod operations;
mod own_cgroups;
mod own_files;
pub mod plugins;
mod pods;
mod records;
mod recovery;
mod resources;
mod runtimes;
mod sandbox;
mod seccomp_filter;
mod selinux;
mod session;
mod stats;
mod table;
mod undo;
mod unfinished;
mod user_namespace;
mod validate;

pub use checkpoint::{RestoreRequest, Restored};
pub use error::{Error, Refusal};
pub use events::{Event, EventKind};
pub use explain::Line;
pub use linkspan_runtime_oci::{ExecOutput, TerminalSize};
pub use model::StreamSet;
pub use operations::Operation;
pub use pods::{Parts, Pods};
pub use sandbox::update::SandboxResources;
pub use session::{AttachSession, ExecSession, Resizer, SessionEnd, SessionInput, SessionIo, SessionOutput};
