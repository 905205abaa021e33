use std::os::unix::net::{UnixDatagram, UnixStream};

use rustix::net::{bind, listen as start};

use super::*;

const CLIENTS: Clients = Clients { mode: 0o660, group: None };

fn kind(result: io::Result<(UnixListener, Place)>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

#[test]
fn a_socket_that_is_listened_on_stays_and_one_that_was_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let (first, _) = listen(&path, CLIENTS).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(kind(listen(&path, CLIENTS)), io::ErrorKind::AddrInUse);
    UnixStream::connect(&path).unwrap();
    drop(first);
    let (_second, place) = listen(&path, CLIENTS).unwrap();
    UnixStream::connect(&path).unwrap();
    assert!(place.remove().unwrap());
    assert!(!place.remove().unwrap(), "gone already");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_server_that_is_behind_with_its_clients_is_not_displaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let server = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    bind(&server, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    start(&server, 0).unwrap();
    // One may wait: it never takes it.
    let _waiting = UnixStream::connect(&path).unwrap();
    assert_eq!(kind(listen(&path, CLIENTS)), io::ErrorKind::AddrInUse);
}

#[test]
fn what_is_no_socket_of_this_kind_is_somebody_elses() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datagrams.sock");
    let _server = UnixDatagram::bind(&path).unwrap();
    assert_eq!(kind(listen(&path, CLIENTS)), io::ErrorKind::AddrInUse);
    let path = dir.path().join("file");
    fs::write(&path, "precious").unwrap();
    assert_eq!(kind(listen(&path, CLIENTS)), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    // A link that leads to somebody's socket.
    let path = dir.path().join("link");
    std::os::unix::fs::symlink(dir.path().join("datagrams.sock"), &path).unwrap();
    assert_eq!(kind(listen(&path, CLIENTS)), io::ErrorKind::AlreadyExists);
}

#[test]
fn the_socket_of_who_took_the_path_since_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let (listener, place) = listen(&path, CLIENTS).unwrap();
    fs::remove_file(&path).unwrap();
    drop(listener);
    // On some file systems it would get the number of the one that is gone.
    let _other = UnixListener::bind(&path).unwrap();
    assert!(!place.remove().unwrap());
    UnixStream::connect(&path).unwrap();
}
