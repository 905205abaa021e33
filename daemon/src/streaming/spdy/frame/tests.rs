use proptest::prelude::*;

use super::*;

/// What `bytes` say when they come in pieces of `size`.
fn parse(bytes: &[u8], size: usize) -> Result<Vec<String>, Violation> {
    let (mut parser, mut found) = (Parser::new(), Vec::new());
    for mut piece in bytes.chunks(size) {
        while let Some(frame) = parser.next(&mut piece)? {
            found.push(format!("{frame:?}"));
        }
    }
    Ok(found)
}

#[test]
fn control_frames_are_the_same_in_any_pieces() {
    let bytes = [ping(7), window_update(3, 9), rst_stream(5, Reset::Cancel), go_away(1, GoAway::Ok)].concat();
    let whole = parse(&bytes, bytes.len()).expect("valid frames");
    assert_eq!(
        whole,
        ["Ping { id: 7 }", "WindowUpdate { id: 3, delta: 9 }", "RstStream { id: 5 }", "GoAway"]
    );
    for size in 1..bytes.len() {
        assert_eq!(parse(&bytes, size).expect("valid frames"), whole);
    }
}

#[test]
fn a_frame_of_data_comes_as_it_arrives_and_ends_once() {
    let bytes = data(9, b"abcd", true);
    let pieces = parse(&bytes, 10).expect("valid frame");
    assert_eq!(pieces.len(), 2);
    assert!(pieces[0].ends_with("fin: false }") && pieces[1].ends_with("fin: true }"), "{pieces:?}");
    assert_eq!(parse(&data(9, b"", true), 8).expect("valid frame"), ["Data { id: 9, bytes: [], fin: true }"]);
}

#[test]
fn what_is_no_spdy_3_is_a_violation() {
    assert!(parse(&[0x80, 9, 0, 1, 0, 0, 0, 0], 8).is_err(), "another version");
    assert!(parse(&[0x80, 3, 0, 1, 0, 0xff, 0, 0], 8).is_err(), "a control frame of 16 MiB");
    assert!(parse(&[0x80, 3, 0, 6, 0, 0, 0, 1, 1], 9).is_err(), "a ping of one byte");
}

proptest! {
    #[test]
    fn noise_is_parsed_or_refused_and_little_is_held(bytes: Vec<u8>, size in 1_usize..64) {
        let mut parser = Parser::new();
        for mut piece in bytes.chunks(size) {
            while let Ok(Some(_)) = parser.next(&mut piece) {}
            prop_assert!(parser.held_bytes() <= 2 * MAX_CONTROL_BYTES);
        }
    }
}
