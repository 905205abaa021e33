use super::*;

#[test]
fn engines_are_found_by_the_sockets_that_they_listen_on() {
    let sockets = "\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 23042 /run/containerd/containerd.sock
0000000000000000: 00000002 00000000 00010000 0001 01 23041 /run/containerd/containerd.sock.ttrpc
0000000000000000: 00000003 00000000 00000000 0001 03 25142 /run/containerd/containerd.sock
0000000000000000: 00000002 00000000 00010000 0001 01 20042 /srv/k3s/containerd.sock
0000000000000000: 00000003 00000000 00000000 0001 03 21111
0000000000000000: 00000002 00000000 00010000 0001 01 19042 /var/run/crio/crio.sock
0000000000000000: 00000003 00000000 00000000 0001 03 29042 /run/docker.sock
0000000000000000: 00000002 00000000 00010000 0001 01 11042 @/org/kernel/linux
";
    let found: Vec<_> = running(sockets).into_iter().map(|e| (e.name, e.socket)).collect();
    let expected = [
        ("containerd", "/run/containerd/containerd.sock"),
        ("containerd", "/srv/k3s/containerd.sock"),
        ("CRI-O", "/var/run/crio/crio.sock"),
    ];
    assert_eq!(found, expected.map(|(name, socket)| (name, PathBuf::from(socket))));
}

#[test]
fn who_is_behind_a_socket_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let found = server(&UnixStream::connect(&path).unwrap()).unwrap();
    assert_eq!(found.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!(found.name, fs::read_to_string("/proc/self/comm").unwrap().trim());
}
