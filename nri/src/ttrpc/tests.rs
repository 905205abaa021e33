use proptest::prelude::*;

use super::{Decoder, HEADER_LENGTH, Kind, MAX_MESSAGE, Message, encode};
use crate::error::Nonsense;

fn decode(decoder: &mut Decoder) -> Result<Vec<Message>, Nonsense> {
    let mut found = Vec::new();
    while let Some(message) = decoder.next()? {
        found.push(message);
    }
    Ok(found)
}

fn header(length: u32, kind: u8) -> Vec<u8> {
    [&length.to_be_bytes()[..], &1_u32.to_be_bytes()[..], &[kind, 0]].concat()
}

#[test]
fn lengths_and_types_that_make_no_sense_are_refused_by_the_header_alone() {
    let check = |bytes: Vec<u8>, expected: Option<Nonsense>| {
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        assert_eq!(decoder.next().err(), expected);
    };
    let most = u32::try_from(MAX_MESSAGE).unwrap();
    check(header(most, 2), None);
    check(header(most + 1, 2), Some(Nonsense::MessageTooLong { length: most + 1 }));
    check(header(u32::MAX, 1), Some(Nonsense::MessageTooLong { length: u32::MAX }));
    check(header(0, 3), Some(Nonsense::MessageType { kind: 3 }));
    check(header(0, 0), Some(Nonsense::MessageType { kind: 0 }));
}

#[test]
fn an_empty_message_is_a_message() {
    let mut decoder = Decoder::default();
    decoder.push(&encode(Kind::Response, 9, b""));
    let expected = Message { stream: 9, kind: Kind::Response, payload: Vec::new().into() };
    assert_eq!(decoder.next(), Ok(Some(expected)));
    assert_eq!(decoder.next(), Ok(None));
}

proptest! {
    #[test]
    fn messages_survive_however_they_are_cut(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
        cut in 1_usize..50,
    ) {
        let wire: Vec<u8> = payloads.iter().zip(0_u32..).flat_map(|(payload, at)| encode(Kind::Request, at, payload)).collect();
        let mut decoder = Decoder::default();
        let mut found = Vec::new();
        for part in wire.chunks(cut) {
            decoder.push(part);
            found.extend(decode(&mut decoder).unwrap());
        }
        let expected: Vec<Message> = payloads
            .into_iter()
            .zip(0..)
            .map(|(payload, stream)| Message { stream, kind: Kind::Request, payload: payload.into() })
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn no_bytes_make_it_panic_or_hoard(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut decoder = Decoder::default();
        for part in bytes.chunks(7) {
            decoder.push(part);
            match decoder.next() {
                Ok(_) => prop_assert!(decoder.buffer.len() <= HEADER_LENGTH + MAX_MESSAGE + bytes.len()),
                Err(_) => break,
            }
        }
    }
}
