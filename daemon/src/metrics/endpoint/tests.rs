use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn started() -> (Serving, SocketAddr) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (start(listener, Metrics::new(Default::default)), address)
}

async fn get(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn clients_that_say_nothing_are_sent_away_and_others_are_answered_then() {
    let (serving, address) = started().await;
    let mut silent = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let answer = tokio::time::timeout(3 * http1::INTRODUCTION, get(address)).await.expect("its turn comes");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("linkspan_build_info"), "{answer}");
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    serving.end().await;
}

#[tokio::test]
async fn the_end_of_the_daemon_is_the_end_of_the_endpoint() {
    let (serving, address) = started().await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    get(address).await;
    serving.end().await;
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
    TcpStream::connect(address).await.expect_err("nobody listens any more");
}
