//! The real daemon, driven through its socket: one module per family of RPCs.
// A test is one future, however long.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod command_line;
mod container;
mod events;
mod exec;
mod faults;
mod image;
mod logs;
mod malformed;
mod metrics;
mod network;
mod recovery;
mod resize;
mod sandbox;
mod security;
mod stats;
mod streaming;
mod streams;
