use futures_util::StreamExt as _;
use tokio::sync::{broadcast, watch};
use tonic::Code;

use super::{Followed, follow};

fn start(backlog: usize) -> (broadcast::Sender<u32>, watch::Sender<bool>, Followed<u32>) {
    let (tell, told) = broadcast::channel(backlog);
    let (end, ending) = watch::channel(false);
    (tell, end, follow(told, ending, |event| event * 10))
}

async fn check(stream: &mut Followed<u32>, expected: Result<u32, Code>) {
    let item = stream.next().await.expect("it goes on");
    assert_eq!(item.map_err(|status| status.code()), expected);
}

#[tokio::test]
async fn events_come_in_order() {
    let (tell, _end, mut stream) = start(8);
    for event in 1..=3 {
        tell.send(event).unwrap();
    }
    for event in 1..=3 {
        check(&mut stream, Ok(event * 10)).await;
    }
}

#[tokio::test]
async fn a_listener_that_is_too_slow_gets_an_error_and_the_end_and_not_a_gap() {
    let (tell, _end, mut stream) = start(4);
    tell.send(1).unwrap();
    check(&mut stream, Ok(10)).await;
    for event in 2..=20 {
        tell.send(event).unwrap();
    }
    check(&mut stream, Err(Code::Aborted)).await;
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_daemon_that_goes_down_ends_the_stream() {
    let (_tell, end, mut stream) = start(4);
    end.send_replace(true);
    check(&mut stream, Err(Code::Unavailable)).await;
    assert!(stream.next().await.is_none());
}
