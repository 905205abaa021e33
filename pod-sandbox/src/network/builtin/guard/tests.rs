//! What a pod sends in another's name, on a host of its own. Needs root.

use std::net::UdpSocket;
use std::time::Duration;

use tempfile::TempDir;

use super::super::super::netlink::{self, nft, route};
use super::super::super::testbed::{Pod, on_own_host, only, output};
use super::super::tests::{BRIDGE, config};
use super::super::{Builtin, LINGER, firewall};

/// Datagrams that come to an address of the host. What is refused is told by that the next one, which is allowed, comes.
struct Ears(UdpSocket);

impl Ears {
    fn at(address: &str) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 64];
        let length = self.0.recv(&mut buffer).expect("the datagram that is allowed comes");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }
}

/// With a pod that is attached until the end. Without [`follow`](super::super::follow): nothing mends the rules here.
fn with_pod(subnets: &[&str], test: impl AsyncFnOnce(&Builtin, &Pod) + Send) {
    on_own_host(|| async {
        if is_missing_ip() {
            return;
        }
        let dir = TempDir::new().unwrap();
        let network = Builtin::open_with(&config(dir.path(), subnets), LINGER).await.unwrap();
        let pod = Pod::new("a").await;
        network.attach(&pod.attachment).await.unwrap();
        test(&network, &pod).await;
        network.detach(&pod.attachment).await.unwrap();
    });
}

fn say(pod: &Pod, from: &str, to: &str, what: &str) {
    netlink::within(pod.netns(), || {
        // The kernel of the pod may refuse it by itself, which is as good.
        let _ = UdpSocket::bind(from).and_then(|socket| socket.send_to(what.as_bytes(), to));
    })
    .unwrap();
}

fn ip(pod: &Pod, commands: &[&str]) {
    netlink::within(pod.netns(), || {
        for command in commands {
            output("ip", &command.split(' ').collect::<Vec<_>>()).expect("iproute2 is installed");
        }
    })
    .unwrap();
}

fn mac_of(interface: &str) -> String {
    let shown = output("ip", &["-br", "link", "show", interface]).unwrap();
    shown.split_whitespace().nth(2).expect("name, state, address").to_owned()
}

fn is_missing_ip() -> bool {
    let missing = output("ip", &["-V"]).is_none();
    if missing {
        eprintln!("SKIP: needs ip (iproute2)");
    }
    missing
}

#[test]
fn a_flush_of_all_rules_does_not_open_the_hosts_loopback_to_pods() {
    with_pod(&["10.213.0.0/24"], async |_, pod| {
        nft::remove(&firewall::table(BRIDGE)).unwrap();
        // It listens on the host's every address, so that both ways lead to it.
        let ears = Ears::at("0.0.0.0:7777");
        ip(pod, &["addr del 127.0.0.1/8 dev lo", "route add 127.0.0.0/8 via 10.213.0.1 src 10.213.0.2"]);
        netlink::within(pod.netns(), || {
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
        })
        .unwrap();
        say(pod, "10.213.0.2:0", "127.0.0.1:7777", "to the loopback");
        say(pod, "10.213.0.2:0", "10.213.0.1:7777", "to the bridge");
        assert_eq!(ears.hear(), "to the bridge");
    });
}

#[test]
fn a_pod_poses_as_no_other() {
    with_pod(&["10.213.0.0/24", "fd00:213::/64"], async |network, pod| {
        let other = Pod::new("b").await;
        network.attach(&other.attachment).await.unwrap();
        let ears = Ears::at("[::]:7777");
        for (foreign, own, host) in
            [("10.213.0.9", "10.213.0.2", "10.213.0.1"), ("fd00:213::9", "fd00:213::2", "fd00:213::1")]
        {
            let at = |address: &str, port: u16| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            };
            let prefix = if own.contains(':') { "64 nodad" } else { "24" };
            ip(pod, &[&format!("addr add {foreign}/{prefix} dev eth0")]);
            say(pod, &at(foreign, 0), &at(host, 7777), "in another's name");
            say(pod, &at(own, 0), &at(host, 7777), "in its own name");
            assert_eq!(ears.hear(), "in its own name", "{foreign}");
            let known = output("ip", &["neigh", "show", foreign]).unwrap();
            assert!(!known.contains("lladdr"), "the host has learned from the pod who {foreign} is: {known}");
        }
        network.detach(&other.attachment).await.unwrap();
    });
}

#[test]
fn a_pod_has_the_mac_address_that_it_was_given() {
    with_pod(&["10.213.0.0/24"], async |_, pod| {
        let ears = Ears::at("0.0.0.0:7777");
        let own = netlink::within(pod.netns(), || mac_of("eth0")).unwrap();
        // The pod need not ask who the bridge is: what it says is sent at once.
        let known = format!("neigh replace 10.213.0.1 lladdr {} dev eth0 nud permanent", mac_of(BRIDGE));
        for (mac, what) in [("02:00:00:00:00:99", "with another"), (&own, "with its own")] {
            ip(pod, &[&format!("link set eth0 address {mac}"), &known]);
            say(pod, "10.213.0.2:0", "10.213.0.1:7777", what);
        }
        assert_eq!(ears.hear(), "with its own");
    });
}

#[test]
fn a_pod_of_an_earlier_daemon_is_guarded_from_the_next_start_on() {
    with_pod(&["10.213.0.0/24"], async |network, pod| {
        let veth = super::super::links::veth_name("a");
        if output("tc", &["qdisc", "del", "dev", &veth, "clsact"]).is_none() {
            eprintln!("SKIP: needs tc (iproute2)");
            return;
        }
        network.gc(only(&[&pod.attachment.sandbox_id])).await.unwrap();
        let filters = output("tc", &["filter", "show", "dev", &veth, "ingress"]).unwrap();
        assert_eq!(filters.matches("direct-action").count(), 1, "{filters}");
        // And once more: one guard, not two.
        network.gc(only(&[&pod.attachment.sandbox_id])).await.unwrap();
        assert_eq!(output("tc", &["filter", "show", "dev", &veth, "ingress"]).unwrap(), filters);
        network.detach(&pod.attachment).await.unwrap();
        assert!(route::link(&mut netlink::Socket::route().unwrap(), &veth).unwrap().is_none());
    });
}
