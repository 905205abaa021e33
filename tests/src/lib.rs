//! What the suites stand on.
//!
//! Owns: the images of the suites, the harness that starts the real daemon, registries (real and scripted), the
//! checks that nothing is left behind.
//!
//! Must never know: the inside of the daemon. It is driven as a user drives it: socket, command line, configuration.
#![allow(clippy::unwrap_used)]

pub mod images;
