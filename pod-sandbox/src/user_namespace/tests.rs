use super::*;

fn mapping(container_id: u32, host_id: u32, length: u32) -> IdMapping {
    IdMapping { container_id, host_id, length }
}

fn pod(uids: &[IdMapping]) -> NamespaceOptions {
    let user = UserNamespace { mode: NamespaceMode::Pod, uids: uids.to_vec(), gids: uids.to_vec() };
    NamespaceOptions { userns_options: Some(user), ..NamespaceOptions::default() }
}

fn refused(options: &NamespaceOptions) -> String {
    match check("options", options) {
        Err(Error::BadConfig { field, .. }) => field,
        other => panic!("not refused: {other:?}"),
    }
}

const USUAL: IdMapping = IdMapping { container_id: 0, host_id: 65_536, length: 65_536 };

#[test]
fn one_range_from_root_on_is_what_there_is() {
    let usual = pod(&[USUAL]);
    assert!(check("options", &usual).is_ok() && check("options", &NamespaceOptions::default()).is_ok());
    let mut config = SandboxConfig::default();
    config.linux.security_context.namespace_options = usual.clone();
    assert_eq!(of(&config), Some(IdMap { host_id: 65_536, length: 65_536 }));

    for mappings in [
        vec![],
        vec![USUAL, mapping(65_536, 200_000, 10)],
        vec![mapping(1, 65_536, 10)],
        vec![mapping(0, 65_536, 0)],
        vec![mapping(0, u32::MAX - 9, 11)],
    ] {
        assert_eq!(refused(&pod(&mappings)), "options.userns_options.uids", "{mappings:?}");
    }
    let mut other = usual.clone();
    other.userns_options.as_mut().unwrap().gids = vec![mapping(0, 1_000, 65_536)];
    assert_eq!(refused(&other), "options.userns_options.gids");
    let mut node = usual;
    node.userns_options.as_mut().unwrap().mode = NamespaceMode::Node;
    assert_eq!(refused(&node), "options.userns_options.mode");
}

#[test]
fn modes_that_kubernetes_does_not_have_and_namespaces_that_do_not_fit_are_refused() {
    for mode in [NamespaceMode::Container, NamespaceMode::Target] {
        let mut options = pod(&[USUAL]);
        options.userns_options.as_mut().unwrap().mode = mode;
        assert_eq!(refused(&options), "options.userns_options.mode");
    }
    assert_eq!(refused(&NamespaceOptions { pid: NamespaceMode::Node, ..pod(&[USUAL]) }), "options.pid");
    assert_eq!(refused(&NamespaceOptions { ipc: NamespaceMode::Node, ..pod(&[USUAL]) }), "options.ipc");
    assert!(check("options", &NamespaceOptions { network: NamespaceMode::Node, ..pod(&[USUAL]) }).is_ok());
}

#[test]
fn a_container_has_its_pods_users() {
    let host = NamespaceOptions {
        userns_options: Some(UserNamespace { mode: NamespaceMode::Node, ..UserNamespace::default() }),
        ..NamespaceOptions::default()
    };
    let (none, own) = (NamespaceOptions::default(), pod(&[USUAL]));
    let same = |own: &NamespaceOptions, pod: &NamespaceOptions| check_same("options", own, pod).is_ok();
    assert!(same(&none, &own) && same(&own, &own) && same(&host, &none) && same(&host, &host));
    assert!(!same(&host, &own) && !same(&own, &none) && !same(&pod(&[mapping(0, 1, 2)]), &own));
}

#[test]
fn groups_that_may_ping_are_counted_in_the_pod() {
    let users = Some(IdMap { host_id: 100_000, length: 1_000 });
    let check = |value: &str, expected: &str| {
        for name in [PING_GROUP_RANGE, "net/ipv4/ping_group_range"] {
            assert_eq!(sysctl_value(users, name, value), expected);
        }
        assert_eq!(sysctl_value(None, PING_GROUP_RANGE, value), value);
        assert_eq!(sysctl_value(users, "net.core.somaxconn", value), value);
    };
    check("0 2147483647", "100000 100999");
    check("5\t20", "100005 100020");
    check("1000 2000", "1 0");
    check("1 0", "1 0");
    check("nonsense", "nonsense");
}
