//! What a client of the streaming server may send, before its connection is upgraded and after.

use super::{negotiate, port_forward, remote_command, spdy, websocket};

pub use negotiate::fuzz::negotiation;
pub use port_forward::fuzz::port_forward_pairs;
pub use remote_command::fuzz::terminal_sizes;

/// # Panics
/// On a fault.
pub fn spdy_session(data: &[u8]) {
    either(data, spdy::fuzz::nearly_frames, spdy::fuzz::noise);
}

/// # Panics
/// On a fault.
pub fn websocket_session(data: &[u8]) {
    either(data, websocket::fuzz::nearly_frames, websocket::fuzz::noise);
}

/// The first bit says whether the rest is a script of what nearly are frames, or noise.
fn either(data: &[u8], nearly_frames: fn(&[u8]), noise: fn(&[u8])) {
    match data.split_first() {
        Some((first, script)) if first & 1 == 1 => nearly_frames(script),
        Some((_, bytes)) => noise(bytes),
        None => {}
    }
}
