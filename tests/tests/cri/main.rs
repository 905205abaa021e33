//! The real daemon, driven through its socket: one module per family of RPCs.
// A test is one future, however long.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod boundaries;
mod capabilities;
mod cdi;
mod checkpoint;
mod command_line;
mod container;
mod devices;
mod events;
mod exec;
mod faults;
mod handler_options;
mod handlers;
mod image;
mod image_volumes;
mod logs;
mod malformed;
mod metrics;
mod mounts;
mod network;
mod nri;
mod pause;
mod profiles;
mod recovery;
mod resize;
mod resources;
mod sandbox;
mod sandbox_kind;
mod security;
mod stats;
mod streaming;
mod streams;
mod sysctls;
mod userns;
mod users;
