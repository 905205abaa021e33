//! What a hostile peer may send once its connection is upgraded. The bodies of the fuzz targets in `fuzz/`; as property tests they run with all others.

use super::{spdy, websocket};

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
