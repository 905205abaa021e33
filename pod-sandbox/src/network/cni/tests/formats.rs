//! Configurations, results, arguments and cache entries: what comes in and what goes out.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::slice;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::super::cache::{Cache, Entry};
use super::super::conf::{NetworkList, load_dir};
use super::super::version::{Version, negotiate};
use super::super::{capability, result};
use super::fixture::attachment;
use crate::network::{DnsConfig, PortMapping, Protocol};

fn list(content: &str) -> Result<NetworkList, String> {
    NetworkList::from_list(content.as_bytes(), Path::new("test"))
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_list_reads_as_written() {
    let list = list(
        r#"{"cniVersion":"0.4.0","name":"pods","disableCheck":"TRUE","plugins":[
            {"type":"bridge","mtu":1400,"capabilities":{"ips":true,"mac":false}},
            {"type":"portmap","capabilities":{"portMappings":true}}]}"#,
    )
    .unwrap();
    assert_eq!((list.name.as_str(), list.version), ("pods", Version::V040));
    assert!(list.disable_check && !list.disable_gc);
    assert_eq!(list.plugins.iter().map(|p| p.kind.as_str()).collect::<Vec<_>>(), ["bridge", "portmap"]);
    assert!(list.plugins[0].capabilities.contains("ips") && !list.plugins[0].capabilities.contains("mac"));
    assert_eq!(list.plugins[0].config["mtu"], 1400);
}

#[test]
fn a_bad_list_says_what_is_wrong() {
    for (content, message) in [
        ("{", "EOF while parsing"),
        (r#"{"cniVersion":"1.0.0"}"#, "no name"),
        (r#"{"name":"pods"}"#, "no cniVersion"),
        (r#"{"name":"pods","cniVersion":"0.2.0"}"#, r#"cniVersion "0.2.0" is not supported"#),
        (r#"{"name":"../x","cniVersion":"1.0.0"}"#, "letters, digits"),
        (r#"{"name":"pods","cniVersion":"1.0.0","plugins":{}}"#, "plugins is not a list"),
        (r#"{"name":"pods","cniVersion":"1.0.0","plugins":[{}]}"#, r#"plugin type "" is not"#),
        (r#"{"name":"pods","cniVersion":"1.0.0","plugins":[{"type":"../sh"}]}"#, "is not a file name"),
        (r#"{"name":"pods","cniVersions":["9.9.9"]}"#, "none of the cniVersions"),
        (r#"{"name":"pods","cniVersion":"1.0.0","disableGC":3}"#, "neither true nor false"),
    ] {
        let error = list(content).unwrap_err();
        assert!(error.contains(message), "{content}: {error}");
    }
}

#[test]
fn several_versions_are_a_choice_and_unknown_ones_are_passed_over() {
    let list = list(
        r#"{"name":"pods","cniVersion":"0.4.0","cniVersions":["1.1.0","2.0.0","0.3.1"],"plugins":[{"type":"x"}]}"#,
    );
    assert_eq!(list.unwrap().versions, [Version::V110, Version::V040, Version::V031]);
}

#[test]
fn the_newest_version_of_all_plugins_wins() {
    use Version::{V031, V040, V100, V110};
    let wanted = [V110, V100, V040];
    assert_eq!(negotiate(&wanted, &[vec![V040, V100, V110], vec![V031, V100]]), Some(V100));
    assert_eq!(negotiate(&wanted, &[]), Some(V110));
    assert_eq!(negotiate(&wanted, &[vec![V031]]), None);
}

#[test]
fn the_first_usable_file_wins_in_lexical_order() {
    let dir = TempDir::new().unwrap();
    let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
    write("00-notes.txt", "not a configuration");
    write("05-bad.conflist", r#"{"name":"bad"}"#);
    write("06-list.conf", r#"{"name":"x","cniVersion":"1.0.0","plugins":[]}"#);
    write("10-one.conf", r#"{"name":"one","cniVersion":"0.3.1","type":"ptp"}"#);
    write("20-two.conflist", r#"{"name":"two","cniVersion":"1.0.0","plugins":[{"type":"bridge"}]}"#);
    let found = load_dir(dir.path()).unwrap();
    let list = found.list.unwrap();
    assert_eq!((list.name.as_str(), list.plugins[0].kind.as_str()), ("one", "ptp"));
    let rejected: Vec<String> = found.rejected.iter().map(ToString::to_string).collect();
    assert_eq!(rejected.len(), 2, "{rejected:?}");
    assert!(rejected[0].ends_with("05-bad.conflist: no cniVersion"), "{rejected:?}");
    assert!(rejected[1].contains("must then end in .conflist"), "{rejected:?}");
}

#[test]
fn plugins_in_the_networks_own_directory_are_added_unless_forbidden() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("pods")).unwrap();
    fs::write(dir.path().join("pods/10-b.conf"), r#"{"type":"tuning"}"#).unwrap();
    fs::write(dir.path().join("pods/05-a.conf"), r#"{"type":"portmap"}"#).unwrap();
    let kinds = |content: &str| {
        fs::write(dir.path().join("10-pods.conflist"), content).unwrap();
        let list = load_dir(dir.path()).unwrap().list;
        list.map(|list| list.plugins.into_iter().map(|plugin| plugin.kind).collect::<Vec<_>>())
    };
    let with = kinds(r#"{"name":"pods","cniVersion":"1.1.0","plugins":[{"type":"bridge"}]}"#);
    assert_eq!(with.unwrap(), ["bridge", "portmap", "tuning"]);
    let only = kinds(r#"{"name":"pods","cniVersion":"1.1.0"}"#);
    assert_eq!(only.unwrap(), ["portmap", "tuning"]);
    let without = kinds(
        r#"{"name":"pods","cniVersion":"1.1.0","loadOnlyInlinedPlugins":true,"plugins":[{"type":"bridge"}]}"#,
    );
    assert_eq!(without.unwrap(), ["bridge"]);
}

#[test]
fn a_directory_that_is_not_there_holds_nothing() {
    let found = load_dir(Path::new("/nonexistent/net.d")).unwrap();
    assert!(found.list.is_none() && found.rejected.is_empty());
}

#[test]
fn results_convert_between_versions() {
    let old = object(json!({
        "cniVersion": "0.4.0",
        "interfaces": [{"name": "eth0", "sandbox": "/x"}],
        "ips": [{"version": "4", "address": "10.0.0.2/24", "interface": 0}, {"version": "6", "address": "fd00::2/64"}],
    }));
    let new = object(json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "eth0", "sandbox": "/x"}],
        "ips": [{"address": "10.0.0.2/24", "interface": 0}, {"address": "fd00::2/64"}],
    }));
    assert_eq!(result::convert(old.clone(), Version::V110), new);
    assert_eq!(result::convert(new.clone(), Version::V040), old);
    let mut rich = new;
    rich["interfaces"][0]["mtu"] = 1400.into();
    assert_eq!(result::convert(rich, Version::V040), old);
}

#[test]
fn addresses_are_the_pods_in_the_results_order() {
    let read = |value: Value| result::addresses(&object(value));
    let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
    let dual = read(json!({"ips": [{"address": "fd00::2/64"}, {"address": "10.0.0.2/24"}]}));
    assert_eq!(dual.unwrap(), ips(&["fd00::2", "10.0.0.2"]));
    let ptp = read(json!({
        "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/x"}, {"name": "eth1", "sandbox": "/x"}],
        "ips": [
            {"address": "10.0.0.1/32", "interface": 0},
            {"address": "10.9.0.2/24", "interface": 2},
            {"address": "10.0.0.2/24", "interface": 1},
        ],
    }));
    assert_eq!(ptp.unwrap(), ips(&["10.0.0.2"]));
    assert_eq!(
        read(json!({"ips": [{"address": "x"}]})).unwrap_err(),
        "address \"x\" in the result is not one"
    );
    assert_eq!(read(json!({})).unwrap(), ips(&[]));
}

#[test]
fn capability_arguments_have_the_conventions_names() {
    let mut a = attachment("s1");
    let port = |host_port, host_ip: Option<&str>| PortMapping {
        protocol: Protocol::Udp,
        container_port: 53,
        host_port,
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
    };
    a.port_mappings = vec![port(5353, Some("127.0.0.1")), port(0, None), port(54, None)];
    a.dns = DnsConfig { servers: vec!["10.0.0.10".to_owned()], ..DnsConfig::default() };
    a.annotations.insert("kubernetes.io/ingress-bandwidth".to_owned(), "1M".to_owned());
    a.cgroup_path = "/kubepods/pod1".to_owned();
    a.mac = Some("02:00:00:00:00:01".to_owned());
    a.ips = vec!["10.1.0.9".parse().unwrap()];
    let arguments = capability::arguments(&a, &["10.1.0.0/24".to_owned()]).unwrap();
    let expected = json!({
        "portMappings": [
            {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
            {"hostPort": 54, "containerPort": 53, "protocol": "udp"},
        ],
        "bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 4_294_967_295_u64},
        "dns": {"servers": ["10.0.0.10"], "searches": [], "options": []},
        "ipRanges": [[{"subnet": "10.1.0.0/24"}]],
        "mac": "02:00:00:00:00:01",
        "ips": ["10.1.0.9"],
        "cgroupPath": "/kubepods/pod1",
        "io.kubernetes.cri.pod-annotations": {"kubernetes.io/ingress-bandwidth": "1M"},
    });
    assert_eq!(Value::Object(arguments), expected);
    assert!(capability::arguments(&attachment("s1"), &[]).unwrap().is_empty());
}

#[tokio::test]
async fn the_cache_has_libcnis_place_and_format() {
    let dir = TempDir::new().unwrap();
    let cache = Cache::new(dir.path(), Path::new("/var/lib//linkspan/"));
    let mut entry = Entry::new("pods", "s1", &json!({"name": "pods"}));
    entry.netns = "/run/ns".to_owned();
    entry.cni_args = vec![["IgnoreUnknown".to_owned(), "1".to_owned()]];
    entry.capability_args = object(json!({"mac": "02:00:00:00:00:01"}));
    entry.result = Some(object(json!({"cniVersion": "1.0.0"})));
    cache.store(&entry).await.unwrap();
    let path = dir.path().join("results/pods-s1-eth0");
    let written: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let expected = json!({
        "kind": "cniCacheV1",
        "containerId": "s1",
        "config": "eyJuYW1lIjoicG9kcyJ9",
        "ifName": "eth0",
        "networkName": "pods",
        "netns": "/run/ns",
        "cniArgs": [["IgnoreUnknown", "1"]],
        "capabilityArgs": {"mac": "02:00:00:00:00:01"},
        "result": {"cniVersion": "1.0.0"},
        // Ours alone; libcni passes over it.
        "linkspanRootDir": "/var/lib/linkspan",
    });
    assert_eq!(written, expected);
    let entry: Entry = serde_json::from_value(written).unwrap();
    // Others share the directory: what we cannot read is theirs.
    fs::write(dir.path().join("results/pods-s1-eth0.bak"), "x").unwrap();
    fs::write(dir.path().join("results/other-s1-eth0"), "half of a fi").unwrap();
    assert_eq!(cache.of_container("s1").await.unwrap(), slice::from_ref(&entry));
    let survey = cache.survey().await.unwrap();
    assert_eq!((survey.own, survey.foreign), (vec![entry.clone()], Vec::new()));
    assert_eq!(survey.unreadable.len(), 2);
    assert_eq!(cache.of_container("s").await.unwrap(), []);
    cache.remove(&entry).await.unwrap();
    cache.remove(&entry).await.unwrap();
    assert!(!path.exists());
}

#[test]
fn a_list_has_gc_from_1_1_on_unless_it_says_no() {
    for (list, expected) in [
        (json!({"name": "n", "cniVersion": "1.0.0"}), false),
        (json!({"name": "n", "cniVersion": "1.1.0"}), true),
        (json!({"name": "n", "cniVersion": "0.4.0", "cniVersions": ["1.1.0"]}), true),
        (json!({"name": "n", "cniVersion": "1.1.0", "disableGC": true}), false),
        (json!({"name": "n", "cniVersion": "1.1.0", "disableGC": "True"}), false),
        (json!(null), false),
    ] {
        let read = NetworkList::from_list(list.to_string().as_bytes(), Path::new("a.conflist"));
        assert_eq!(read.is_ok_and(|list| list.has_gc()), expected, "{list}");
    }
}
