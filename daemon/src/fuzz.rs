//! What clients of CRI and of the streaming server may send: the bodies of the fuzz targets in `fuzz/`. As property tests they run
//! with all others.

pub use crate::streaming::fuzz::{
    negotiation, port_forward_pairs, spdy_session, terminal_sizes, websocket_session,
};
pub use crate::wire::fuzz::cri_request;

#[cfg(test)]
mod tests;
