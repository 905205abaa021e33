//! CRI's protobuf messages on one side, the types of the crates below on the other. The only place that knows both.
//!
//! Here is checked what protobuf cannot say: that a message is there, that an enum's number is known, that a
//! number fits. What a value may be is for the operations to judge.

pub(crate) mod batch;
pub(crate) mod checkpoint;
pub(crate) mod container;
pub(crate) mod event;
pub(crate) mod field;
pub(crate) mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod image;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod nri;
pub(crate) mod resources;
pub(crate) mod sandbox;
pub(crate) mod security;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod streaming;
#[cfg(test)]
mod tests;
