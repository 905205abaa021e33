use super::*;

fn round_trip(json: &[u8], fds: &[BorrowedFd<'_>]) -> Frame {
    let (a, b) = pair().expect("pair");
    send(a.as_fd(), json, fds).expect("send");
    receive(b.as_fd()).expect("receive").expect("a frame")
}

#[test]
fn frames_of_every_size_arrive_whole() {
    for size in [1, INLINE_LIMIT_BYTES, INLINE_LIMIT_BYTES + 1, 1 << 20, PAYLOAD_LIMIT_BYTES] {
        let json: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        assert_eq!(round_trip(&json, &[]).json, json, "{size} bytes");
    }
}

#[test]
fn a_frame_past_the_limit_is_refused_by_the_sender() {
    let (a, _b) = pair().expect("pair");
    let error = send(a.as_fd(), &vec![0; PAYLOAD_LIMIT_BYTES + 1], &[]).expect_err("too long");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn descriptors_arrive_with_their_frame_in_order() {
    for size in [10, INLINE_LIMIT_BYTES * 2] {
        let files: Vec<File> = (0..3)
            .map(|i| {
                let mut file = tempfile::tempfile().expect("file");
                write!(file, "file {i}").expect("write");
                file
            })
            .collect();
        let fds: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let frame = round_trip(&vec![b' '; size], &fds);
        assert_eq!(frame.fds.len(), 3);
        for (i, fd) in frame.fds.into_iter().enumerate() {
            let mut file = File::from(fd);
            file.rewind().expect("rewind");
            let mut text = String::new();
            file.read_to_string(&mut text).expect("read");
            assert_eq!(text, format!("file {i}"));
        }
    }
}

#[test]
fn the_end_of_the_connection_is_no_frame_and_no_data_would_block() {
    let (a, b) = pair().expect("pair");
    assert_eq!(receive(b.as_fd()).expect_err("nothing yet").kind(), io::ErrorKind::WouldBlock);
    drop(a);
    assert!(receive(b.as_fd()).expect("end").is_none());
}

#[test]
fn what_is_no_frame_is_an_error() {
    let (a, b) = pair().expect("pair");
    for packet in [&b"X{}"[..], b"M12345678", &[b'J'; INLINE_LIMIT_BYTES + 2]] {
        rustix::net::send(&a, packet, SendFlags::empty()).expect("send");
        assert_eq!(receive(b.as_fd()).expect_err("no frame").kind(), io::ErrorKind::InvalidData);
    }
}

#[test]
fn a_socket_works_in_a_directory_with_a_long_name() {
    let dir = tempfile::tempdir().expect("tempdir");
    let long = dir.path().join("x".repeat(150)).join("y".repeat(150));
    std::fs::create_dir_all(&long).expect("mkdir");
    assert_eq!(connect(&long).expect_err("no monitor").kind(), io::ErrorKind::NotFound);
    let listener = listen(&long).expect("listen");
    let client = connect(&long).expect("connect");
    let server =
        rustix::net::accept_with(&listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).expect("accept");
    send(client.as_fd(), b"{}", &[]).expect("send");
    assert_eq!(receive(server.as_fd()).expect("receive").expect("a frame").json, b"{}");
    drop(listener);
    assert_eq!(connect(&long).expect_err("dead").kind(), io::ErrorKind::ConnectionRefused);
    listen(&long).expect("the left socket is replaced");
}
