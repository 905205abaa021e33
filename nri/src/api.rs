//! The messages of NRI and of ttrpc, generated from `proto/`.

/// The protobuf package `nri.pkg.api.v1alpha1`.
mod generated {
    #![allow(clippy::all, clippy::wildcard_imports, missing_docs, unreachable_pub, unused_qualifications)]
    #![allow(rustdoc::all)]
    include!(concat!(env!("OUT_DIR"), "/nri.pkg.api.v1alpha1.rs"));
}

/// The protobuf package `ttrpc`.
pub(crate) mod ttrpc {
    #![allow(clippy::all, missing_docs, unreachable_pub, unused_qualifications, rustdoc::all)]
    include!(concat!(env!("OUT_DIR"), "/ttrpc.rs"));
}

pub use generated::*;

/// The protocol as a `google.protobuf.FileDescriptorSet`, for comparison with the published one.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
