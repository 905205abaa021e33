//! What the suites stand on.
//!
//! Owns: the images of the suites, the harness that starts the real daemon, registries (real and scripted), the
//! checks that nothing is left behind.
//!
//! Must never know: the inside of the daemon. It is driven as a user drives it: socket, command line, configuration.
#![allow(clippy::unwrap_used)]

pub mod client;
pub mod command;
pub mod faults;
pub mod host_mount;
pub mod http;
pub mod hung;
pub mod images;
pub mod leftovers;
pub mod needs;
pub mod network;
pub mod node;
pub mod nri;
pub mod pods;
pub mod registry;
pub mod requests;
pub mod streaming;
pub mod tools;
pub mod tree;
pub mod wait;
