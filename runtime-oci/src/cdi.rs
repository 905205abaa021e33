//! Container Device Interface: what a vendor's files say about a device is applied to the OCI spec of a container that
//! asks for it.
//!
//! ```text
//! directories ─ Registry::read ─ resolve(names) ─ fill_from_host ─▶ Edits ─ apply(spec)
//!                    reads                             reads                    pure
//! ```
//!
//! Source: the CDI specification 1.1.0 (`SPEC.md`). The files are read anew by each container that asks for a device:
//! no file is ever out of date, no watch can be lost, and who asks for no device pays nothing.

mod check;
mod document;
mod edit;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod name;
mod registry;

pub use edit::Edits;
pub(crate) use edit::add_hook;
pub use name::{DeviceName, from_annotation};
pub use registry::Registry;

#[cfg(test)]
mod tests;
