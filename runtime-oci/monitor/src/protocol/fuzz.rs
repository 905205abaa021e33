//! What may come over a monitor's socket, or lie in its directory: the bodies of the fuzz targets in `fuzz/`. As property tests they
//! run with all others.

use std::fmt::Debug;
use std::os::fd::AsFd;

use rustix::net::SendFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    ExitRecord, FromMonitor, INLINE_LIMIT_BYTES, ProcessStat, Request, Rfc3339, pair, receive, send,
};

/// A packet as it is, and one whose JSON it is.
///
/// # Panics
/// On a fault.
pub fn protocol(data: &[u8]) {
    let (ours, theirs) = pair().expect("descriptors");
    // An empty packet is the end of a connection.
    if !data.is_empty() && rustix::net::send(&theirs, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
    {
        // No memfd is there: what says that it has one is refused.
        match receive(ours.as_fd()) {
            Ok(Some(frame)) => assert_eq!((data[0], &*frame.json, frame.fds.len()), (b'J', &data[1..], 0)),
            Ok(None) => panic!("a packet of {} bytes is no end", data.len()),
            Err(error) => assert!(data[0] != b'J' || data.len() > INLINE_LIMIT_BYTES, "{error}"),
        }
    }
    send(theirs.as_fd(), data, &[]).expect("a frame is sent");
    let frame = receive(ours.as_fd()).expect("a frame is received").expect("and is no end");
    assert_eq!(frame.json, data, "a frame comes as it was sent");
    survives::<Request>(data);
    survives::<FromMonitor>(data);
    if let Some(record) = survives::<ExitRecord>(data) {
        let time = Rfc3339(record.at_ns).to_string();
        assert!(time.ends_with('Z') && time.len() >= 30, "{time}");
    }
}

/// What is read is written, and read again as the same.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let read: T = serde_json::from_slice(data).ok()?;
    let written = serde_json::to_vec(&read).expect("a message is JSON");
    let again: T = serde_json::from_slice(&written).expect("a message is read as it was written");
    assert_eq!(again, read);
    Some(read)
}

/// A process whose name is `data`, as the kernel shows it: the name is the process's own choice.
///
/// # Panics
/// If it is taken for another process's numbers.
pub fn process_name(data: &[u8]) {
    let numbers = b") S 7 1 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9\n";
    let stat = [b"42 (", data, numbers].concat();
    let parsed = ProcessStat::parse(42, &stat).expect("the kernel's numbers are read");
    let wanted =
        ProcessStat { pid: 42, state: 'S', parent: 7, session: 9, start_time: 4711, exit_status: None };
    assert_eq!(parsed, wanted, "the name is taken for numbers");
    // Not the kernel's, but whatever it is.
    let _ = ProcessStat::parse(42, data);
}

#[cfg(test)]
mod tests;
