//! What a hostile peer may send once its connection is upgraded. The bodies of the fuzz targets in `fuzz/`; as property tests they run with all others.

use super::{spdy, websocket};

/// Noise, or by the first bit what nearly is SPDY/3.1.
///
/// # Panics
/// On a fault.
pub fn spdy_session(data: &[u8]) {
    match data.split_first() {
        Some((first, script)) if first & 1 == 1 => spdy::fuzz::nearly_frames(script),
        Some((_, noise)) => spdy::fuzz::noise(noise),
        None => {}
    }
}

/// Noise, or by the first bit what nearly are WebSocket messages.
///
/// # Panics
/// On a fault.
pub fn websocket_session(data: &[u8]) {
    match data.split_first() {
        Some((first, script)) if first & 1 == 1 => websocket::fuzz::nearly_frames(script),
        Some((_, noise)) => websocket::fuzz::noise(noise),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{spdy_session, websocket_session};

    proptest! {
        #[test]
        fn whatever_a_peer_sends_ends_its_session_or_does_nothing(data: Vec<u8>) {
            spdy_session(&data);
            websocket_session(&data);
        }
    }
}
