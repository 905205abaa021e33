//! NRI, the Node Resource Interface: plugins that hear of pods and containers, and change what containers are made of.
//!
//! Owns:
//! - the protocol ([`api`]), its multiplexer and ttrpc;
//! - the socket for plugins, their registration, those that are started by us ([`Hub`]);
//! - the order of calls, each plugin's deadline, what becomes of one that fails ([`Turn`]);
//! - how the wishes of several plugins become one, each field with one owner, and what they make of an OCI spec ([`oci`]).
//!
//! Must never know:
//! - how pods and containers are kept, or that there is CRI: it sees messages, and OCI specs as JSON;
//! - gRPC and HTTP/2.

pub mod api;
mod connection;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hub;
mod launch;
mod merge;
mod mux;
pub mod oci;
mod plugin;
mod register;
mod required;
mod ttrpc;
mod turn;

pub use error::Error;
pub use hub::{Hub, Runtime};
pub use merge::Owners;
pub use turn::{Creation, Notice, Owned, Turn, Updates};
