//! The wishes of several plugins, made one: in the order of the plugins, each field with one owner.
//!
//! A later plugin sees what the earlier ones made of the container. Two that set the same field are in conflict, unless the
//! later one first takes away what is there (a key with a leading `-`, a first argument that is empty, `remove` of RDT).
//! Source: nri v0.12.0, README.md, "Container Adjustment" and "Container Updates", and pkg/adaptation/result.go.

mod adjustment;
mod keyed;
mod owners;
mod resources;
mod updates;

pub(crate) use adjustment::Adjusting;
pub(crate) use keyed::REMOVAL;
pub use owners::Owners;
pub(crate) use updates::{Merged, Updating};

#[cfg(test)]
mod tests;
