//! Streams of connections, in any order.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::pairs::{Matched, Pairs, Purpose};

/// Each four bytes are a stream: whose, what for, which port, and how long after the one before in tenths of a second.
///
/// # Panics
/// If a stream is joined to one of another connection, lost, or kept for longer than it may wait.
pub fn port_forward_pairs(data: &[u8]) {
    let (mut pairs, mut now) = (Pairs::new(), Instant::now());
    // What each waiting stream is, by its number.
    let mut waiting: HashMap<usize, (String, Purpose, u16)> = HashMap::new();
    for (number, &[name, purpose, port, pause]) in data.as_chunks::<4>().0.iter().enumerate() {
        now += Duration::from_millis(u64::from(pause) * 100);
        for (request, stream) in pairs.expire(now) {
            let (named, purpose, _) = waiting.remove(&stream).expect("what expires was waiting");
            assert_eq!((named, purpose), (request, Purpose::Error), "only these hear of it");
        }
        assert!(pairs.deadline().is_none_or(|deadline| deadline > now), "something waits for too long");
        let request = format!("{}", u16::from(name) * u16::from(pause % 3 + 1));
        let purpose = if purpose % 2 == 0 { Purpose::Data } else { Purpose::Error };
        let port = u16::from(port % 4) + 1;
        if !pairs.has_room(&request) {
            continue;
        }
        let stream = (request.clone(), purpose, port);
        match pairs.add(&request, purpose, port, number, now) {
            Matched::Waiting => drop(waiting.insert(number, stream)),
            Matched::Complete(pair) => {
                let (other, kind) = match purpose {
                    Purpose::Data => (pair.error, Purpose::Error),
                    Purpose::Error => (pair.data, Purpose::Data),
                };
                assert_eq!(
                    waiting.remove(&other),
                    Some((request, kind, port)),
                    "a stream of another connection"
                );
                assert_eq!(if purpose == Purpose::Data { pair.data } else { pair.error }, number);
                assert_eq!(pair.port, port);
            }
            Matched::Contradiction(error, why) => {
                let error_is = |stream: usize| match waiting.get(&stream) {
                    Some((named, purpose, _)) => *named == request && *purpose == Purpose::Error,
                    None => stream == number && purpose == Purpose::Error,
                };
                assert!(!why.is_empty() && error.is_none_or(error_is), "{error:?} is told {why:?}");
                waiting.retain(|_, (named, ..)| *named != request);
            }
        }
    }
}
