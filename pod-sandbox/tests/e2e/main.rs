//! Pods on this very machine: real monitor, real OCI runtime, real busybox. Needs root; skips aloud without.

#![allow(clippy::unwrap_used, reason = "tests")]

mod containers;
mod execs;
mod image;
mod networks;
mod node;
mod pods;
mod restarts;
mod stops;
mod wishes;
