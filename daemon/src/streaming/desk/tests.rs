use linkspan_pod_sandbox::model::SandboxId;

use super::*;

fn check(address: &str, tls: bool, expected: &str) {
    assert_eq!(base_url(address.parse().unwrap(), tls), expected);
}

#[test]
fn urls_name_the_address_that_is_listened_on() {
    check("127.0.0.1:81", false, "http://127.0.0.1:81");
    check("10.1.2.3:443", true, "https://10.1.2.3:443");
    check("[fd00::1]:81", false, "http://[fd00::1]:81");
}

#[test]
fn urls_of_a_server_on_all_addresses_name_loopback() {
    check("0.0.0.0:81", false, "http://127.0.0.1:81");
    check("[::]:81", true, "https://[::1]:81");
}

#[test]
fn a_url_is_for_its_own_path_only() {
    let desk = Desk::new("127.0.0.1:81".parse().unwrap(), false);
    let sandbox = SandboxId::try_from("a".repeat(64)).unwrap();
    let ticket = Ticket::PortForward { sandbox, ports: Vec::new() };
    let url = desk.url(ticket.clone()).unwrap();
    let token = url.strip_prefix("http://127.0.0.1:81/portforward/").unwrap();
    assert_eq!(desk.take(Kind::Exec, token), None);
    assert_eq!(desk.take(Kind::PortForward, token), None, "a wrong path uses it up");
    let url = desk.url(ticket.clone()).unwrap();
    assert_eq!(desk.take(Kind::PortForward, url.rsplit('/').next().unwrap()), Some(ticket));
}
