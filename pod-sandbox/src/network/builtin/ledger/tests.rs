use tempfile::TempDir;

use super::*;
use crate::network::Protocol;

fn open(dir: &TempDir) -> Ledger {
    let subnets = ["10.7.0.0/29", "fd00:7::/64"].map(|text| text.parse().unwrap());
    Ledger::open(dir.path(), subnets.to_vec()).unwrap()
}

fn pod(id: &str) -> Attachment {
    Attachment {
        sandbox_id: id.to_owned(),
        pod_name: id.to_owned(),
        pod_namespace: "shop".to_owned(),
        ..Attachment::default()
    }
}

fn reserve(ledger: &mut Ledger, a: &Attachment) -> Result<Vec<String>, String> {
    let record = ledger.reserve(a, "veth".to_owned()).map_err(|error| error.to_string())?;
    Ok(record.ips.iter().map(ToString::to_string).collect())
}

fn with_port(id: &str, host_port: u16, host_ip: Option<&str>) -> Attachment {
    let host_ip = host_ip.map(|ip| ip.parse().unwrap());
    let port = PortMapping { protocol: Protocol::Tcp, container_port: 80, host_port, host_ip };
    Attachment { port_mappings: vec![port], ..pod(id) }
}

#[test]
fn every_pod_gets_one_address_per_subnet_and_none_twice() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    for n in 2..=6 {
        let ips = reserve(&mut ledger, &pod(&format!("p{n}"))).unwrap();
        assert_eq!(ips, [format!("10.7.0.{n}"), format!("fd00:7::{n}")]);
    }
    assert_eq!(reserve(&mut ledger, &pod("p7")).unwrap_err(), "no free address in 10.7.0.0/29");
    ledger.release("p3").unwrap();
    assert_eq!(reserve(&mut ledger, &pod("p7")).unwrap()[0], "10.7.0.3");
}

#[test]
fn addresses_survive_a_restart_and_are_free_after_release() {
    let dir = TempDir::new().unwrap();
    reserve(&mut open(&dir), &pod("p1")).unwrap();
    fs::write(dir.path().join("half.json"), "{").unwrap();
    fs::write(dir.path().join("p0.tmp"), "{").unwrap();
    fs::create_dir(dir.path().join("odd")).unwrap();
    let mut ledger = open(&dir);
    assert_eq!(ledger.get("p1").unwrap().pod, "shop/p1");
    assert_eq!(reserve(&mut ledger, &pod("p2")).unwrap()[0], "10.7.0.3");
    for _ in 0..2 {
        ledger.release("p1").unwrap();
        ledger.release("p2").unwrap();
    }
    assert!(ledger.is_empty());
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["half.json.bad", "odd.bad"], "set aside, for who wants to look");
}

#[test]
fn an_address_may_be_asked_for() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    let asking = |id: &str, ip: &str| Attachment { ips: vec![ip.parse().unwrap()], ..pod(id) };
    assert_eq!(reserve(&mut ledger, &asking("p1", "10.7.0.5")).unwrap(), ["10.7.0.5", "fd00:7::2"]);
    let taken = reserve(&mut ledger, &asking("p2", "10.7.0.5")).unwrap_err();
    assert_eq!(taken, "network of pod p2: address 10.7.0.5 is taken");
    let foreign = reserve(&mut ledger, &asking("p2", "10.8.0.5")).unwrap_err();
    assert_eq!(foreign, "network of pod p2: address 10.8.0.5 is not in the built-in network");
}

#[test]
fn a_host_port_has_one_pod() {
    let dir = TempDir::new().unwrap();
    let mut ledger = open(&dir);
    reserve(&mut ledger, &with_port("p1", 8080, None)).unwrap();
    let error = reserve(&mut ledger, &with_port("p2", 8080, Some("127.0.0.1"))).unwrap_err();
    assert_eq!(error, "host port 8080/tcp on 127.0.0.1 is taken by pod shop/p1");
    reserve(&mut ledger, &with_port("p2", 8081, Some("127.0.0.1"))).unwrap();
    reserve(&mut ledger, &with_port("p3", 8081, Some("127.0.0.2"))).unwrap();
    assert!(reserve(&mut ledger, &with_port("p4", 8081, Some("0.0.0.0"))).is_err());
    let mut udp = with_port("p4", 8080, None);
    udp.port_mappings[0].protocol = Protocol::Udp;
    reserve(&mut ledger, &udp).unwrap();
    let mut twice = with_port("p5", 9090, None);
    twice.port_mappings.push(twice.port_mappings[0]);
    assert_eq!(reserve(&mut ledger, &twice).unwrap_err(), "host port 9090/tcp is taken by pod itself");
}
