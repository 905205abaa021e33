//! From an image reference to a root file system.
//!
//! Owns:
//! - references, registries, pulls: every blob checked against its digest, every layer against its diff ID;
//! - the layers on disk, their extraction, their durability and their removal;
//! - the records of images: names, digests, pins, look-up, removal;
//! - root file systems of containers: writable directories, overlay mounts, usage;
//! - images and artifacts mounted read-only, as volumes.
//!
//! Must never know:
//! - pods, containers or runtimes (a root file system's key is an opaque name);
//! - CRI, gRPC or protobuf;
//! - who decides that an image is to be removed.

mod digest;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod layer;
mod load;
pub mod manifest;
mod model;
mod pull;
mod reference;
mod registry;
mod request;
mod rootfs;
mod store;
mod volume;

pub use digest::{Algorithm, Digest, Hasher};
pub use error::Error;
pub use layer::Size as LayerSize;
pub use model::{FsUsage, Image, ImageConfig, ImageId, MountOptions, Rootfs, Usage};
pub use reference::Reference;
pub use request::{Credentials, Progress, PullProgress, PullRequest, PullStage, RequestCredentials};
pub use rootfs::idmap::{IdMap, Mappable, mappable};
pub use store::Images;
