//! The CRI v1 protocol (`runtime.v1`): messages, client and server, generated from `proto/`.
//!
//! Owns: the protocol's names, numbers and types, as of k8s.io/cri-api v0.37.2.
//!
//! Must never know: anything else of this workspace, or how a call is served.

use std::fmt;

/// Everything of the protobuf package `runtime.v1`.
pub mod v1 {
    #![allow(
        clippy::all,
        clippy::large_futures,
        clippy::too_many_lines,
        clippy::wildcard_imports,
        missing_docs
    )]
    #![allow(unreachable_pub, unused_qualifications, rustdoc::all)]
    tonic::include_proto!("runtime.v1");
}

/// The protocol as a `google.protobuf.FileDescriptorSet`, for comparison with the published one.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// One RPC of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// `RuntimeService` or `ImageService`.
    pub service: &'static str,
    pub name: &'static str,
    /// The server answers with a stream.
    pub streaming: bool,
}

/// Every RPC of both services.
pub const RPCS: &[Rpc] = include!(concat!(env!("OUT_DIR"), "/rpcs.rs"));

impl fmt::Debug for v1::AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig").field("server_address", &self.server_address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
