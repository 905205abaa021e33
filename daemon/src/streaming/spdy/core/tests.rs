use tokio::io::ReadBuf;

use super::*;

/// A session with stream 1 open.
fn opened() -> Core {
    let mut core = Core::new();
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
