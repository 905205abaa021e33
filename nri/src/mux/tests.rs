use proptest::prelude::*;

use super::{FIRST_FRAME, HEADER_LENGTH, Header, MAX_PAYLOAD, frames};
use crate::error::Nonsense;

/// Payloads by frame, as a reader of the trunk finds them.
fn read(mut bytes: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, Nonsense> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LENGTH>() {
        let header = Header::decode(*header)?;
        let Some((payload, rest)) = rest.split_at_checked(header.length) else { break };
        found.push((header.connection, payload.to_vec()));
        bytes = rest;
    }
    Ok(found)
}

#[test]
fn a_length_beyond_a_message_is_refused_before_anything_is_read() {
    let check = |length: u32, expected: bool| {
        let mut bytes = [0, 0, 0, 1, 0, 0, 0, 0];
        bytes[4..].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Header::decode(bytes).is_ok(), expected, "{length}");
    };
    check(0, true);
    check(u32::try_from(MAX_PAYLOAD).unwrap(), true);
    check(u32::try_from(MAX_PAYLOAD).unwrap() + 1, false);
    check(u32::MAX, false);
}

#[test]
fn the_first_frame_fits_the_stubs_buffer_and_the_rest_is_one_frame() {
    for length in [1, 10, FIRST_FRAME, FIRST_FRAME + 1, 1 << 20, MAX_PAYLOAD] {
        let frames = read(&frames(1, &vec![7; length])).unwrap();
        assert!(frames.len() <= 2, "{length}: {}", frames.len());
        assert!(frames[0].1.len() <= FIRST_FRAME);
        assert_eq!(frames.iter().map(|(_, payload)| payload.len()).sum::<usize>(), length);
    }
}

proptest! {
    #[test]
    fn what_is_framed_is_found_again(connection: u32, message in prop::collection::vec(any::<u8>(), 1..10_000)) {
        let found = read(&frames(connection, &message)).unwrap();
        prop_assert!(found.iter().all(|(to, _)| *to == connection));
        let joined: Vec<u8> = found.into_iter().flat_map(|(_, payload)| payload).collect();
        prop_assert_eq!(joined, message);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
    }
}
