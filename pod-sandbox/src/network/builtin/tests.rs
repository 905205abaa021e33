//! The built-in network on a host of its own. Needs root.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use super::super::netlink::{self, Socket, route};
use super::super::testbed::{Pod, add_host_address, ask, interfaces, on_own_host, only, output};
use super::super::{Network, Protocol, Readiness};
use super::Builtin;

pub(super) const BRIDGE: &str = "lstest0";

pub(super) fn config(dir: &Path, subnets: &[&str]) -> linkspan_config::Network {
    linkspan_config::Network {
        conf_dir: dir.join("net.d"),
        bin_dirs: Vec::new(),
        cache_dir: dir.join("cache"),
        builtin: true,
        builtin_bridge: BRIDGE.to_owned(),
        builtin_subnets: subnets.iter().map(ToString::to_string).collect(),
        builtin_dir: dir.join("addresses"),
        add_timeout: Duration::from_secs(20),
        del_timeout: Duration::from_secs(20),
    }
}

async fn open(dir: &TempDir, subnets: &[&str]) -> Network {
    Network::open(&config(dir.path(), subnets)).await.unwrap()
}

async fn attach(network: &Network, pod: &Pod) -> Vec<String> {
    let status = network.attach(&pod.attachment).await.unwrap();
    status.ips.iter().map(ToString::to_string).collect()
}

async fn assert_nothing_left(network: &Network, dir: &TempDir) {
    network.shutdown().await.unwrap();
    assert_eq!(interfaces(), ["lo"]);
    assert_eq!(fs::read_dir(dir.path().join("addresses")).unwrap().count(), 0);
    if let Some(tables) = output("nft", &["list", "tables"]) {
        assert_eq!(tables, "");
    }
}

#[test]
fn pods_reach_each_other_and_the_host_reaches_pods() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        assert_eq!(network.readiness(), Readiness::Ready);
        let (a, b) = (Pod::new("a").await, Pod::new("b").await);
        assert_eq!(attach(&network, &a).await, ["10.213.0.2"]);
        assert_eq!(attach(&network, &b).await, ["10.213.0.3"]);
        a.serve(80, 2);
        assert_eq!(b.ask("10.213.0.2:80").unwrap(), "10.213.0.3");
        assert_eq!(ask("10.213.0.2:80").unwrap(), "10.213.0.1");
        network.check(&a.attachment).await.unwrap();
        network.detach(&a.attachment).await.unwrap();
        network.check(&b.attachment).await.unwrap();
        assert!(network.check(&a.attachment).await.is_err());
        network.detach(&b.attachment).await.unwrap();
        network.detach(&b.attachment).await.unwrap();
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn a_host_port_answers_on_every_address_of_the_host() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        add_host_address("192.0.2.7".parse().unwrap());
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let server = Pod::new("server").await.port(Protocol::Tcp, 80, 8080, None);
        let client = Pod::new("client").await;
        attach(&network, &server).await;
        attach(&network, &client).await;
        server.serve(80, 6);
        for (to, from) in
            [("127.0.0.1", "10.213.0.1"), ("127.0.0.9", "10.213.0.1"), ("192.0.2.7", "192.0.2.7")]
        {
            assert_eq!(ask(&format!("{to}:8080")).unwrap(), from, "{to}");
        }
        assert_eq!(ask("10.213.0.1:8080").unwrap(), "10.213.0.1");
        // From a pod, and from the very pod that serves.
        assert_eq!(client.ask("192.0.2.7:8080").unwrap(), "10.213.0.1");
        assert_eq!(server.ask("192.0.2.7:8080").unwrap(), "10.213.0.1");
        network.detach(&server.attachment).await.unwrap();
        assert!(ask("127.0.0.1:8080").unwrap_err().contains("refused"));
        network.detach(&client.attachment).await.unwrap();
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn a_host_port_on_one_address_answers_there_only() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        add_host_address("192.0.2.7".parse().unwrap());
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let local = Pod::new("local").await.port(Protocol::Tcp, 80, 8080, Some("127.0.0.1"));
        let outer = Pod::new("outer").await.port(Protocol::Tcp, 80, 8080, Some("192.0.2.7"));
        attach(&network, &local).await;
        attach(&network, &outer).await;
        local.serve(80, 1);
        assert_eq!(ask("127.0.0.1:8080").unwrap(), "10.213.0.1");
        assert!(ask("192.0.2.7:8080").is_err(), "nobody listens in that pod");
        outer.serve(80, 1);
        assert_eq!(ask("192.0.2.7:8080").unwrap(), "192.0.2.7");
        let error = network
            .attach(&Pod::new("third").await.port(Protocol::Tcp, 1, 8080, None).attachment)
            .await
            .unwrap_err()
            .to_string();
        assert_eq!(error, "host port 8080/tcp is taken by pod test/local");
        for pod in [&local, &outer] {
            network.detach(&pod.attachment).await.unwrap();
        }
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn udp_host_ports_work() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let pod = Pod::new("dns").await.port(Protocol::Udp, 53, 5353, None);
        attach(&network, &pod).await;
        let server = netlink::within(pod.netns(), || UdpSocket::bind("0.0.0.0:53").unwrap()).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect("127.0.0.1:5353").unwrap();
        let mut buffer = [0; 8];
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        client.send(b"ask").unwrap();
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip().to_string()), (&b"ask"[..], "10.213.0.1".to_owned()));
        server.send_to(b"tell", from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"tell");
        network.detach(&pod.attachment).await.unwrap();
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn pods_cannot_reach_what_listens_on_the_hosts_loopback() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let pod = Pod::new("a").await;
        attach(&network, &pod).await;
        if output("ip", &["-V"]).is_none() {
            eprintln!("SKIP: needs ip (iproute2)");
            return;
        }
        let secret = UdpSocket::bind("127.0.0.1:7777").unwrap();
        secret.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // The pod owns its namespace: it can send 127.0.0.1 to the host.
        netlink::within(pod.netns(), || {
            fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            for command in
                ["addr del 127.0.0.1/8 dev lo", "route add 127.0.0.1/32 via 10.213.0.1 src 10.213.0.2"]
            {
                output("ip", &command.split(' ').collect::<Vec<_>>()).expect("iproute2 is installed");
            }
            let socket = UdpSocket::bind("10.213.0.2:0").unwrap();
            socket.send_to(b"knock", "127.0.0.1:7777").unwrap();
        })
        .unwrap();
        assert!(secret.recv(&mut [0; 8]).is_err(), "the pod reached the host's loopback");
        network.detach(&pod.attachment).await.unwrap();
    });
}

#[test]
fn the_world_sees_the_hosts_address() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        // "The world" is one more namespace, linked to the host by hand.
        let world = Pod::new("world").await;
        let mut socket = Socket::route().unwrap();
        let netns = fs::File::open(world.netns()).unwrap();
        let veth = route::Veth {
            name: "uplink",
            peer: "eth0",
            peer_netns: std::os::fd::AsFd::as_fd(&netns),
            peer_mac: [2, 0, 0, 0, 0, 7],
            master: 0,
            mtu: 1400,
        };
        route::add_veth(&mut socket, veth).unwrap();
        let uplink = route::link(&mut socket, "uplink").unwrap().unwrap().index;
        route::add_address(&mut socket, uplink, "192.0.2.7".parse().unwrap(), 24).unwrap();
        route::add_default_route(&mut socket, uplink, "192.0.2.1".parse().unwrap()).unwrap();
        let mut inside = Socket::route_in(world.netns()).unwrap();
        let peer = route::link(&mut inside, "eth0").unwrap().unwrap().index;
        route::add_address(&mut inside, peer, "192.0.2.1".parse().unwrap(), 24).unwrap();
        route::up(&mut inside, peer).unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let pod = Pod::new("a").await.port(Protocol::Tcp, 80, 8080, None);
        attach(&network, &pod).await;
        world.serve(80, 1);
        assert_eq!(pod.ask("192.0.2.1:80").unwrap(), "192.0.2.7");
        let eth0 = route::link(&mut Socket::route_in(pod.netns()).unwrap(), "eth0").unwrap().unwrap();
        assert_eq!(eth0.mtu, 1400, "as the host's way out");
        // And a host port keeps the caller's address.
        pod.serve(80, 1);
        assert_eq!(world.ask("192.0.2.7:8080").unwrap(), "192.0.2.1");
        network.detach(&pod.attachment).await.unwrap();
    });
}

#[test]
fn dual_stack_pods_have_both_addresses_at_once() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        add_host_address("2001:db8::7".parse().unwrap());
        let network = open(&dir, &["10.213.0.0/24", "fd00:213::/64"]).await;
        let a = Pod::new("a").await.port(Protocol::Tcp, 80, 8080, None);
        let b = Pod::new("b").await;
        assert_eq!(attach(&network, &a).await, ["10.213.0.2", "fd00:213::2"]);
        assert_eq!(attach(&network, &b).await, ["10.213.0.3", "fd00:213::3"]);
        a.serve(80, 5);
        assert_eq!(b.ask("[fd00:213::2]:80").unwrap(), "fd00:213::3");
        assert_eq!(b.ask("10.213.0.2:80").unwrap(), "10.213.0.3");
        assert_eq!(ask("[fd00:213::2]:80").unwrap(), "fd00:213::1");
        assert_eq!(ask("[2001:db8::7]:8080").unwrap(), "2001:db8::7");
        assert_eq!(b.ask("[2001:db8::7]:8080").unwrap(), "fd00:213::1");
        for pod in [&a, &b] {
            network.detach(&pod.attachment).await.unwrap();
        }
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn a_restarted_daemon_goes_on_where_the_other_stopped() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        let a = Pod::new("a").await.port(Protocol::Tcp, 80, 8080, None);
        let (b, gone) = (Pod::new("b").await, Pod::new("gone").await);
        let network = open(&dir, &["10.213.0.0/24"]).await;
        attach(&network, &a).await;
        attach(&network, &gone).await;
        drop(network);
        output("nft", &["flush", "ruleset"]);
        let network = open(&dir, &["10.213.0.0/24"]).await;
        network.shutdown().await.unwrap();
        assert!(interfaces().contains(&BRIDGE.to_owned()), "pods keep their network");
        // The namespace has vanished, and nobody knows of the pod any more.
        gone.unpin().await;
        network.gc(only(&[&a.attachment.sandbox_id])).await.unwrap();
        assert_eq!(attach(&network, &b).await, ["10.213.0.3"], "not a's, and the other is free");
        a.serve(80, 1);
        assert_eq!(ask("127.0.0.1:8080").unwrap(), "10.213.0.1");
        for pod in [&a, &b] {
            pod.unpin().await;
            network.detach(&pod.attachment).await.unwrap();
        }
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn rules_that_somebody_flushes_come_back() {
    on_own_host(|| async {
        if output("nft", &["list", "tables"]).is_none() {
            eprintln!("SKIP: needs nft (nftables)");
            return;
        }
        let dir = TempDir::new().unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let pod = Pod::new("a").await.port(Protocol::Tcp, 80, 8080, None);
        attach(&network, &pod).await;
        let rules = output("nft", &["list", "ruleset"]).unwrap();
        for flush in [&["flush", "ruleset"][..], &["flush", "table", "inet", "linkspan-lstest0"]] {
            output("nft", flush);
            let back = async {
                while output("nft", &["list", "ruleset"]).unwrap() != rules {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), back).await.expect("the rules come back");
        }
        pod.serve(80, 1);
        assert_eq!(ask("127.0.0.1:8080").unwrap(), "10.213.0.1");
        network.detach(&pod.attachment).await.unwrap();
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn many_pods_at_once_get_different_addresses_and_leave_nothing() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let mut tasks = Vec::new();
        for n in 0..20_u16 {
            let pod = Pod::new(&format!("p{n}")).await.port(Protocol::Tcp, 80, 9000 + n, None);
            let network = network.clone();
            tasks.push(tokio::spawn(async move { (attach(&network, &pod).await.remove(0), pod) }));
        }
        let mut pods = Vec::new();
        for task in tasks {
            pods.push(task.await.unwrap());
        }
        let mut addresses: Vec<&String> = pods.iter().map(|(address, _)| address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 20);
        for (address, pod) in &pods {
            pod.serve(80, 1);
            let port = 9000 + pod.attachment.sandbox_id[1..].parse::<u16>().unwrap();
            assert_eq!(ask(&format!("127.0.0.1:{port}")).unwrap(), "10.213.0.1", "{address}");
        }
        let detached: Vec<_> = pods
            .iter()
            .map(|(_, pod)| {
                let (network, a) = (network.clone(), pod.attachment.clone());
                tokio::spawn(async move { network.detach(&a).await })
            })
            .collect();
        for task in detached {
            task.await.unwrap().unwrap();
        }
        assert_nothing_left(&network, &dir).await;
    });
}

#[test]
fn bridge_and_table_go_some_time_after_the_last_pod() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        let linger = Duration::from_millis(20);
        let builtin = Builtin::open_with(&config(dir.path(), &["10.213.0.0/24"]), linger).await.unwrap();
        let pod = Pod::new("a").await;
        builtin.attach(&pod.attachment).await.unwrap();
        assert!(interfaces().contains(&BRIDGE.to_owned()));
        builtin.detach(&pod.attachment).await.unwrap();
        let gone = async {
            while interfaces() != ["lo"] {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.expect("the bridge goes");
    });
}

#[test]
fn a_bridge_of_somebody_else_is_neither_used_nor_removed() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        route::add_bridge(&mut Socket::route().unwrap(), BRIDGE, [2, 0, 0, 0, 0, 1]).unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let error = network.attach(&Pod::new("a").await.attachment).await.unwrap_err().to_string();
        assert!(error.ends_with("network.builtin_bridge names another one"), "{error}");
        network.shutdown().await.unwrap();
        assert!(interfaces().contains(&BRIDGE.to_owned()), "it is not ours to remove");
        let addresses = output("ip", &["-br", "addr", "show", BRIDGE]).unwrap_or_default();
        assert!(!addresses.contains("10.213.0.1"), "{addresses}");
    });
}

#[test]
fn a_failed_attach_leaves_nothing() {
    on_own_host(|| async {
        let dir = TempDir::new().unwrap();
        let network = open(&dir, &["10.213.0.0/24"]).await;
        let mut pod = Pod::new("a").await.attachment.clone();
        pod.netns = dir.path().join("no-such-namespace");
        let error = network.attach(&pod).await.unwrap_err().to_string();
        assert!(error.starts_with("opening network namespace "), "{error}");
        assert_nothing_left(&network, &dir).await;
    });
}

#[tokio::test]
async fn bad_subnets_are_named() {
    let dir = TempDir::new().unwrap();
    for (subnets, message) in [
        (&["10.0.0.0"][..], "built-in network, subnet \"10.0.0.0\": has no prefix length"),
        (&[], "built-in network, subnet \"\": one of each family at most, and one at least, is possible"),
    ] {
        let error = Network::open(&config(dir.path(), subnets)).await.unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}
