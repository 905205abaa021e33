use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A terminal and its other end, which passes bytes as they are.
fn pair() -> (Terminal, OwnedFd) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).expect("openpt");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let peer = ioctl_tiocgptpeer(&master, flags | OpenptFlags::CLOEXEC).expect("peer");
    let mut raw = tcgetattr(&peer).expect("attributes");
    raw.make_raw();
    tcsetattr(&peer, OptionalActions::Now, &raw).expect("raw");
    (Terminal::from_fd(master).expect("terminal"), peer)
}

#[tokio::test]
async fn what_was_written_is_read_before_the_end() {
    let (mut terminal, peer) = pair();
    rustix::io::write(&peer, b"last words").expect("write");
    drop(peer);
    let mut said = Vec::new();
    terminal.read_to_end(&mut said).await.expect("EIO is the end");
    assert_eq!(said, b"last words");
}

#[tokio::test]
async fn it_is_read_written_and_resized_at_once() {
    let (terminal, peer) = pair();
    let mut reader = terminal.clone();
    let reading = tokio::spawn(async move {
        let mut said = [0; 6];
        reader.read_exact(&mut said).await.map(|_| said)
    });
    let mut writer = terminal.clone();
    writer.write_all(b"input").await.expect("write");
    terminal.resize(TerminalSize { columns: 132, rows: 43 }).expect("resize");
    let size = tcgetwinsize(&peer).expect("size");
    assert_eq!((size.ws_col, size.ws_row), (132, 43));
    let mut input = [0; 16];
    assert_eq!(rustix::io::read(&peer, &mut input), Ok(5));
    assert_eq!(&input[..5], b"input");
    rustix::io::write(&peer, b"output").expect("write");
    assert_eq!(&reading.await.expect("task").expect("read"), b"output");
}
