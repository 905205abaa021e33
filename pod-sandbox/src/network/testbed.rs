//! A host of one's own for tests that need root: a network namespace that stands for the node,
//! so that nothing of the machine's network is touched and everything is gone afterwards.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::thread::UnshareFlags;
use tempfile::TempDir;

use super::netlink::{self, route};
use super::{Attachment, Error, Network, PortMapping, Protocol};
use crate::namespaces::{self, NamespacePlan};

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the test inside a fresh "host". The threads that tokio starts from there are inside, too.
pub(super) fn on_own_host<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP: needs root to make network namespaces");
        return;
    }
    std::thread::scope(|scope| {
        let host = scope.spawn(|| {
            namespaces::sys::unshare(UnshareFlags::NEWNET).unwrap();
            route::loopback_up().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(work());
        });
        if let Err(panic) = host.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// For [`Network::gc`]: all the sandboxes that there are.
pub(super) fn only(ids: &[&str]) -> impl Fn() -> BTreeSet<String> + Send + Sync + use<> {
    let ids: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    move || ids.clone()
}

/// The mark of tests' networks.
pub(super) const ROOT_DIR: &str = "/var/lib/linkspan-test";

impl Network {
    pub(super) async fn open(config: &linkspan_config::Network) -> Result<Self, Error> {
        Self::open_for(config, Path::new(ROOT_DIR)).await
    }
}

/// A pod's namespace, without a network so far. Unpinned when dropped.
pub(super) struct Pod {
    dir: TempDir,
    pub(super) attachment: Attachment,
}

impl Pod {
    pub(super) async fn new(id: &str) -> Self {
        let dir = TempDir::new().unwrap();
        let plan = NamespacePlan { dir: dir.path().join("ns"), network: true, ..NamespacePlan::default() };
        let netns = namespaces::create(&plan).await.unwrap().network.unwrap();
        let attachment = Attachment {
            sandbox_id: id.to_owned(),
            pod_name: id.to_owned(),
            pod_namespace: "test".to_owned(),
            pod_uid: "u".to_owned(),
            netns,
            ..Attachment::default()
        };
        Self { dir, attachment }
    }

    pub(super) fn port(
        mut self,
        protocol: Protocol,
        container_port: u16,
        host_port: u16,
        ip: Option<&str>,
    ) -> Self {
        let host_ip = ip.map(|ip| ip.parse().unwrap());
        self.attachment.port_mappings.push(PortMapping { protocol, container_port, host_port, host_ip });
        self
    }

    pub(super) fn netns(&self) -> &Path {
        &self.attachment.netns
    }

    pub(super) async fn unpin(&self) {
        namespaces::unpin(&self.dir.path().join("ns")).await.unwrap();
    }

    /// Answers every connection to the port with the caller's address, `count` times.
    pub(super) fn serve(&self, port: u16, count: usize) {
        let listener =
            netlink::within(self.netns(), || TcpListener::bind(format!("[::]:{port}")).unwrap()).unwrap();
        std::thread::spawn(move || {
            for _ in 0..count {
                let (mut stream, from) = listener.accept().unwrap();
                stream.write_all(from.ip().to_canonical().to_string().as_bytes()).unwrap();
            }
        });
    }

    /// Connects from inside the pod; what the server says.
    pub(super) fn ask(&self, to: &str) -> Result<String, String> {
        netlink::within(self.netns(), || ask(to)).unwrap()
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.netns(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// Connects from the calling thread's namespace; what the server says.
pub(super) fn ask(to: &str) -> Result<String, String> {
    let address: SocketAddr = to.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    Ok(answer)
}

/// The standard output of a command in the calling thread's namespace; `None` if it is not
/// installed.
pub(super) fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    assert!(output.status.success(), "{command} {arguments:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Names of all interfaces of the host.
pub(super) fn interfaces() -> Vec<String> {
    let links = route::links(&mut netlink::Socket::route().unwrap()).unwrap();
    links.into_iter().map(|link| link.stats.name).collect()
}

/// Gives the host one more address, as a network card would have: on `lo`, where it is local
/// without being 127.0.0.0/8.
pub(super) fn add_host_address(address: IpAddr) {
    let prefix = if address.is_ipv4() { 32 } else { 128 };
    route::add_address(&mut netlink::Socket::route().unwrap(), 1, address, prefix).unwrap();
}
