use super::*;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_bridge_has_the_first_address_and_pods_the_others() {
    let net = subnet("10.7.0.0/29");
    assert_eq!(net.gateway(), ip("10.7.0.1"));
    let mut given = Vec::new();
    while let Some(next) = net.next_free(given.last().copied(), |ip| given.contains(&ip)) {
        given.push(next);
    }
    assert_eq!(given, ["10.7.0.2", "10.7.0.3", "10.7.0.4", "10.7.0.5", "10.7.0.6"].map(ip));
}

#[test]
fn a_released_address_is_the_last_to_be_given_again() {
    let net = subnet("10.7.0.0/29");
    assert_eq!(net.next_free(Some(ip("10.7.0.4")), |_| false), Some(ip("10.7.0.5")));
    assert_eq!(net.next_free(Some(ip("10.7.0.6")), |_| false), Some(ip("10.7.0.2")));
    assert_eq!(net.next_free(Some(ip("10.7.0.4")), |a| a != ip("10.7.0.4")), Some(ip("10.7.0.4")));
    assert_eq!(net.next_free(Some(ip("10.99.0.1")), |_| false), Some(ip("10.7.0.2")));
}

#[test]
fn six_works_as_four_does() {
    let net = subnet("fd00:7::/64");
    assert_eq!(net.gateway(), ip("fd00:7::1"));
    assert_eq!(net.next_free(None, |_| false), Some(ip("fd00:7::2")));
    assert!(net.has_for_pods(ip("fd00:7::abcd")) && !net.has_for_pods(ip("fd00:8::2")));
}

#[test]
fn only_pod_addresses_may_be_asked_for() {
    let net = subnet("10.7.0.0/24");
    for (address, allowed) in [
        ("10.7.0.2", true),
        ("10.7.0.254", true),
        ("10.7.0.0", false),
        ("10.7.0.1", false),
        ("10.7.0.255", false),
        ("10.7.1.2", false),
        ("10.6.0.2", false),
        ("::2", false),
    ] {
        assert_eq!(net.has_for_pods(ip(address)), allowed, "{address}");
    }
}

#[test]
fn bad_subnets_are_refused() {
    for text in [
        "10.7.0.0",
        "10.7.0.0/31",
        "10.7.0.1/24",
        "10.7.0.0/0",
        "x/24",
        "10.0.0.0/33",
        "fd00::1/64",
        "fd00::/127",
    ] {
        assert!(text.parse::<Subnet>().is_err(), "{text}");
    }
}
