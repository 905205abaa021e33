//! Other engines on the node, and what they share with this daemon.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use linkspan_config::Config;
use linkspan_pod_sandbox::network::{Network, Others};
use rustix::net::sockopt;

use super::text;

/// What is there of others.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Engines {
    pub(in super::super) running: Vec<Engine>,
    /// In the CNI caches.
    pub(in super::super) attachments: Others,
    /// Why the caches could not be read.
    pub(in super::super) unreadable_cache: Option<String>,
    /// Who listens on the CRI socket, if that is no Linkspan.
    pub(in super::super) on_cri_socket: Option<Server>,
    /// Who listens on the NRI socket that a daemon started now would want.
    pub(in super::super) on_nri_socket: Option<Server>,
    /// The built-in network's bridge is there, and no pod of ours is on it.
    pub(in super::super) bridge_is_there: bool,
}

/// An engine whose socket is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Engine {
    pub(in super::super) name: &'static str,
    pub(in super::super) socket: PathBuf,
}

/// A process behind a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Server {
    pub(in super::super) name: String,
    pub(in super::super) pid: i32,
}

/// What engines call their sockets, in whatever directory.
const SOCKETS: [(&str, &str); 4] = [
    ("containerd.sock", "containerd"),
    ("crio.sock", "CRI-O"),
    ("docker.sock", "dockerd"),
    ("cri-dockerd.sock", "cri-dockerd"),
];

/// `daemon` is a connection to the CRI socket. Engines' own sockets are not connected to: systemd would start one whose
/// socket it holds.
pub(super) async fn read(config: &Config, daemon: Option<&UnixStream>) -> Engines {
    let network = &config.network;
    let on_cri_socket = daemon.and_then(server).filter(|server| server.name != "linkspan");
    // A Linkspan that serves has it already.
    let wants_nri_socket =
        (daemon.is_none() || on_cri_socket.is_some()) && config.nri.enable && !config.nri.disable_connections;
    let nri = wants_nri_socket.then(|| UnixStream::connect(&config.nri.socket).ok()).flatten();
    let (attachments, unreadable_cache) = match Network::others(network, &config.root_dir).await {
        Ok(others) => (others, None),
        Err(error) => (Others::default(), Some(error.to_string())),
    };
    Engines {
        running: running(&text("/proc/net/unix")),
        attachments,
        unreadable_cache,
        on_nri_socket: nri.as_ref().and_then(server),
        on_cri_socket,
        bridge_is_there: network.builtin
            && Path::new("/sys/class/net").join(&network.builtin_bridge).exists()
            && fs::read_dir(&network.builtin_dir).is_ok_and(|mut records| records.next().is_none()),
    }
}

/// From `/proc/net/unix` (proc(5)): number, count, protocol, flags, type, state, inode, path.
fn running(sockets: &str) -> Vec<Engine> {
    /// linux/net.h, `__SO_ACCEPTCON`: it is listened on.
    const LISTENS: &str = "00010000";
    let mut found: Vec<Engine> = Vec::new();
    for line in sockets.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, _, _, LISTENS, _, _, _, path] = &fields[..] else { continue };
        let path = Path::new(path);
        let name = SOCKETS.iter().find(|(file, _)| path.file_name().is_some_and(|name| name == *file));
        if let Some((_, name)) = name.filter(|_| found.iter().all(|engine| engine.socket != path)) {
            found.push(Engine { name, socket: path.to_owned() });
        }
    }
    found
}

/// The command of who listens on the other end.
fn server(stream: &UnixStream) -> Option<Server> {
    let pid = sockopt::socket_peercred(stream).ok()?.pid.as_raw_nonzero().get();
    let name = text(&format!("/proc/{pid}/comm")).trim().to_owned();
    (!name.is_empty()).then_some(Server { name, pid })
}

#[cfg(test)]
mod tests;
