use proptest::prelude::*;

use super::*;

#[test]
fn two_streams_of_a_request_make_a_connection_in_either_order() {
    let now = Instant::now();
    for first in [Purpose::Error, Purpose::Data] {
        let mut pairs = Pairs::new();
        let second = if first == Purpose::Data { Purpose::Error } else { Purpose::Data };
        assert_eq!(pairs.add("7", first, 80, first, now), Matched::Waiting);
        assert_eq!(pairs.add("8", first, 80, first, now), Matched::Waiting);
        let pair = Pair { port: 80, data: Purpose::Data, error: Purpose::Error };
        assert_eq!(pairs.add("7", second, 80, second, now), Matched::Complete(pair));
        assert_eq!(pairs.halves.len(), 1);
    }
}

#[test]
fn streams_that_do_not_go_together_are_told_on_the_error_stream() {
    use Purpose::{Data, Error};
    let now = Instant::now();
    for (first, second, told) in [
        ((Error, 80, "e1"), (Error, 80, "e2"), Some("e2")),
        ((Data, 80, "d1"), (Data, 80, "d2"), None),
        ((Error, 80, "e1"), (Data, 81, "d2"), Some("e1")),
        ((Data, 80, "d1"), (Error, 81, "e2"), Some("e2")),
    ] {
        let mut pairs = Pairs::new();
        assert_eq!(pairs.add("1", first.0, first.1, first.2, now), Matched::Waiting);
        let Matched::Contradiction(stream, _) = pairs.add("1", second.0, second.1, second.2, now) else {
            panic!("{first:?} and {second:?} make a connection")
        };
        assert_eq!(stream, told);
        assert_eq!(pairs.deadline(), None);
    }
}

#[test]
fn a_stream_waits_for_its_other_one_for_half_a_minute() {
    let start = Instant::now();
    let mut pairs = Pairs::new();
    pairs.add("1", Purpose::Error, 80, "e1", start);
    pairs.add("2", Purpose::Data, 80, "d2", start);
    pairs.add("3", Purpose::Error, 80, "e3", start + Duration::from_secs(1));
    assert_eq!(pairs.deadline(), Some(start + OPENING));
    assert_eq!(pairs.expire(start + Duration::from_secs(29)), []);
    assert_eq!(pairs.expire(start + OPENING), [("1".to_owned(), "e1")]);
    assert_eq!(pairs.deadline(), Some(start + Duration::from_secs(1) + OPENING));
}

proptest! {
    /// However the streams of several connections are mixed, each finds its own.
    #[test]
    fn mixed_streams_find_their_own(order in Just((0..40).collect::<Vec<u16>>()).prop_shuffle()) {
        let now = Instant::now();
        let mut pairs = Pairs::new();
        let mut complete = Vec::new();
        for stream in order {
            let purpose = if stream % 2 == 0 { Purpose::Data } else { Purpose::Error };
            if let Matched::Complete(pair) = pairs.add(&(stream / 2).to_string(), purpose, stream / 2, stream, now) {
                prop_assert_eq!((pair.data, pair.error), (pair.port * 2, pair.port * 2 + 1));
                complete.push(pair.port);
            }
        }
        prop_assert_eq!(complete.len(), 20);
        prop_assert_eq!(pairs.deadline(), None);
    }
}

#[test]
fn only_so_many_streams_wait_and_the_others_of_them_are_still_taken() {
    let now = Instant::now();
    let mut pairs = Pairs::new();
    for request in 0..MOST_HALVES {
        assert!(pairs.has_room(&request.to_string()));
        pairs.add(&request.to_string(), Purpose::Error, 80, (), now);
    }
    assert!(!pairs.has_room("one more") && pairs.has_room("7"));
}
