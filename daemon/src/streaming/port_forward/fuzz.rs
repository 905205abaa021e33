//! Streams of connections, in any order.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::pairs::{Matched, Pairs, Purpose};

/// What is known of a stream that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    number: usize,
    purpose: Purpose,
    port: u16,
    since: Instant,
}

impl Waiting {
    fn is_late(&self, now: Instant) -> bool {
        now >= self.since + Duration::from_secs(30)
    }
}

/// Each four bytes are a stream: whose, what for, which port, and how long after the one before in tenths of a second.
///
/// # Panics
/// If a stream is joined to one of another connection, lost, or kept for longer than it may wait.
pub fn port_forward_pairs(data: &[u8]) {
    let (mut pairs, mut now) = (Pairs::new(), Instant::now());
    // By the name of the connection. Who hears nothing when it has waited for too long stays until the name comes again.
    let mut waiting: HashMap<u16, Waiting> = HashMap::new();
    for (number, &[name, purpose, port, pause]) in data.as_chunks::<4>().0.iter().enumerate() {
        now += Duration::from_millis(u64::from(pause) * 100);
        expire(&mut pairs, &mut waiting, now);
        let name = u16::from(name) * u16::from(pause % 3 + 1);
        let purpose = if purpose % 2 == 0 { Purpose::Data } else { Purpose::Error };
        let stream = Waiting { number, purpose, port: u16::from(port % 4) + 1, since: now };
        let request = name.to_string();
        if pairs.has_room(&request) {
            add(&mut pairs, &mut waiting, (name, &request), stream);
        }
    }
    now += Duration::from_secs(30);
    expire(&mut pairs, &mut waiting, now);
    assert_eq!(pairs.deadline(), None, "something waits for ever");
    let unheard = waiting.values().find(|stream| stream.purpose == Purpose::Error);
    assert_eq!(unheard, None, "nobody hears why it did not come about");
}

fn expire(pairs: &mut Pairs<usize>, waiting: &mut HashMap<u16, Waiting>, now: Instant) {
    for (request, number) in pairs.expire(now) {
        let name = request.parse().expect("a name that we gave");
        let stream = waiting.remove(&name).expect("what expires was waiting");
        assert_eq!((stream.number, stream.purpose), (number, Purpose::Error), "only these hear of it");
        assert!(stream.is_late(now), "{stream:?} has time yet");
    }
    assert!(pairs.deadline().is_none_or(|deadline| deadline > now), "something waits for too long");
}

fn add(
    pairs: &mut Pairs<usize>,
    waiting: &mut HashMap<u16, Waiting>,
    (name, request): (u16, &str),
    stream: Waiting,
) {
    let Waiting { number, purpose, port, since: now } = stream;
    let other = waiting.remove(&name).filter(|other| {
        let is_late = other.is_late(now);
        assert!(!is_late || other.purpose == Purpose::Data, "{other:?} was not told");
        !is_late
    });
    match (pairs.add(request, purpose, port, number, now), other) {
        (Matched::Waiting, None) => drop(waiting.insert(name, stream)),
        (Matched::Complete(pair), Some(other)) => {
            let (ours, theirs, kind) = match purpose {
                Purpose::Data => (pair.data, pair.error, Purpose::Error),
                Purpose::Error => (pair.error, pair.data, Purpose::Data),
            };
            assert_eq!((ours, pair.port), (number, port));
            let joined = (other.number, other.purpose, other.port);
            assert_eq!((theirs, kind, port), joined, "a stream of another connection");
        }
        (Matched::Contradiction(error, why), Some(other)) => {
            assert!(purpose == other.purpose || port != other.port, "{other:?} goes with {stream:?}");
            let told = [stream, other].into_iter().find(|stream| stream.purpose == Purpose::Error);
            assert!(!why.is_empty() && error == told.map(|told| told.number), "{error:?} is told {why:?}");
        }
        (matched, other) => panic!("{other:?} waits, and {stream:?} gets {matched:?}"),
    }
}
