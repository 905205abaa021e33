use std::task::Waker;

use tokio::io::AsyncWriteExt;

use super::*;

const INPUT: StreamSet = StreamSet { stdin: true, stdout: false, stderr: false, tty: false };

#[tokio::test]
async fn an_input_is_unread_when_its_last_reader_has_gone() {
    let (io, ends) = SessionIo::pipes(INPUT, None).unwrap();
    let (mut input, reader) = (io.input.unwrap(), ends.stdin.unwrap());
    let other = reader.try_clone().unwrap();
    input.write_all(b"not yet read").await.unwrap();
    let mut unread = Box::pin(input.unread());
    let mut is_unread = || unread.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
    assert!(!is_unread());
    drop(reader);
    assert!(!is_unread());
    drop(other);
    unread.await;
}
