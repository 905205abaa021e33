use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use tokio::io::ReadBuf;

use super::*;
use crate::streaming::spdy::headers::Deflater;

/// What happens to a session.
type Step = fn(&mut Core);

/// A session with stream 1 open.
fn opened() -> Core {
    let mut core = Core::new(&Pool::new());
    let block = Deflater::new().empty();
    let syn = Frame::SynStream { id: 1, fin: false, unidirectional: false, block: &block };
    core.receive(syn).expect("a valid stream");
    core
}

fn read(core: &mut Core, room: usize) -> usize {
    let mut bytes = vec![0; room];
    let mut buffer = ReadBuf::new(&mut bytes);
    core.read(1, &mut buffer, Waker::noop());
    buffer.filled().len()
}

#[test]
fn a_buffer_that_was_large_is_let_go_once_it_is_read() {
    let mut core = opened();
    core.receive(Frame::Data { id: 1, bytes: &[0; 1 << 20], fin: false }).expect("data of an open stream");
    assert_eq!(read(&mut core, 1 << 20), 1 << 20);
    core.outgoing();
    assert!(core.held_bytes() < 64 << 10, "{} bytes are held", core.held_bytes());
}

/// Counts how often it is woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The streams `1, 3, 5 …`, so many.
fn with_streams(count: u32) -> Core {
    let (mut core, mut deflater) = (Core::new(&Pool::new()), Deflater::new());
    for id in (1..).step_by(2).take(count as usize) {
        let block = deflater.empty();
        core.receive(Frame::SynStream { id, fin: false, unidirectional: false, block: &block })
            .expect("a valid stream");
    }
    core
}

fn fill_outbox(core: &mut Core, id: u32) {
    while let Write::Taken(_) = core.write(id, &[0; MAX_DATA], Waker::noop()) {}
}

#[test]
fn a_writer_that_waits_for_the_session_is_woken_when_another_stream_goes() {
    let ways: [(&str, Step); 4] = [
        ("the peer resets one", |core| {
            core.receive(Frame::RstStream { id: 1 }).expect("an open stream");
        }),
        ("one is let go", |core| core.release(1)),
        ("what one has to say is sent", |core| drop(core.outgoing())),
        ("the session ends", |core| core.end(None)),
    ];
    for (way, leave) in ways {
        let mut core = with_streams(33);
        for id in (1..).step_by(2).take(32) {
            fill_outbox(&mut core, id);
        }
        let woken = Arc::new(Woken::default());
        assert_eq!(core.write(65, b"waits", &Waker::from(woken.clone())), Write::Full, "{way}");
        leave(&mut core);
        assert_eq!(woken.times(), 1, "{way}");
        let expected = if core.life == Life::Over { Write::Lost } else { Write::Taken(5) };
        assert_eq!(core.write(65, b"waits", Waker::noop()), expected, "{way}");
    }
}

#[test]
fn a_writer_whose_stream_is_reset_is_woken_whatever_it_waits_for() {
    for id in [1, 65] {
        let mut core = with_streams(33);
        for id in (1..).step_by(2).take(32) {
            fill_outbox(&mut core, id);
        }
        let woken = Arc::new(Woken::default());
        assert_eq!(core.write(id, b"waits", &Waker::from(woken.clone())), Write::Full);
        core.receive(Frame::RstStream { id }).expect("an open stream");
        assert!(woken.times() > 0, "stream {id}");
        assert_eq!(core.write(id, b"waits", Waker::noop()), Write::Lost);
    }
}

#[test]
fn the_reader_of_the_connection_is_woken_whichever_bound_is_left() {
    fn data(core: &mut Core, id: u32, length: usize) {
        core.receive(Frame::Data { id, bytes: &vec![0; length], fin: false })
            .expect("data of an open stream");
    }
    let cases: [(&str, Step, Step); 4] = [
        ("a stream is read", |core| data(core, 1, MAX_STREAM_IN), |core| assert!(read(core, 1 << 10) > 0)),
        ("a full stream is let go", |core| data(core, 1, MAX_STREAM_IN), |core| core.release(1)),
        (
            "the session's input is read, of no full stream",
            |core| {
                let each = MAX_STREAM_IN - FRAME_OVERHEAD - 1;
                let count = MAX_SESSION_IN.div_ceil(each);
                (1..).step_by(2).take(count).for_each(|id| data(core, id, each));
            },
            |core| assert!(read(core, 1 << 20) > 0),
        ),
        (
            "control frames are sent",
            |core| {
                while core.has_room(Waker::noop()) {
                    core.receive(Frame::Ping { id: 1 }).expect("a ping");
                }
            },
            |core| drop(core.outgoing()),
        ),
    ];
    for (way, fill, leave) in cases {
        let mut core = with_streams(100);
        while !core.outgoing().is_empty() {}
        fill(&mut core);
        let woken = Arc::new(Woken::default());
        assert!(!core.has_room(&Waker::from(woken.clone())), "{way}");
        leave(&mut core);
        assert_eq!(woken.times(), 1, "{way}");
        assert!(core.has_room(Waker::noop()), "{way}");
    }
}
