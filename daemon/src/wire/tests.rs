//! What goes in comes out again; what cannot go in is named.

use linkspan_cri_api::v1;
use linkspan_image::Credentials;
use linkspan_pod_sandbox::model::{
    ContainerId, ContainerState, ContainerStatus, ContainerUser, NamespaceMode, SandboxId, SandboxState,
    SandboxStatus, SecurityProfile, Timestamp,
};
use linkspan_runtime_oci::CgroupStats;
use tonic::Code;

use super::field::{BadField, Inside as _};
use super::status::{ToStatus as _, Weight, weight};
use super::*;

fn sandbox_config() -> v1::PodSandboxConfig {
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: "web".into(),
            uid: "uid-1".into(),
            namespace: "default".into(),
            attempt: 2,
        }),
        port_mappings: vec![v1::PortMapping {
            protocol: v1::Protocol::Udp.into(),
            container_port: 53,
            host_port: 5353,
            host_ip: "::1".into(),
        }],
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/pod1".into(),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    network: v1::NamespaceMode::Node.into(),
                    pid: v1::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                run_as_user: Some(v1::Int64Value { value: 0 }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn container_config() -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "nginx".into(), attempt: 1 }),
        image: Some(v1::ImageSpec { image: "busybox".into(), ..Default::default() }),
        envs: vec![v1::KeyValue { key: "A".into(), value: b"b=c".to_vec() }],
        mounts: vec![v1::Mount {
            container_path: "/data".into(),
            host_path: "/srv".into(),
            propagation: v1::MountPropagation::PropagationBidirectional.into(),
            // As the kubelet sends it with every mount.
            image: Some(v1::ImageSpec::default()),
            ..Default::default()
        }],
        cdi_devices: vec![v1::CdiDevice { name: "vendor.com/gpu=0".into() }],
        stop_signal: v1::Signal::from_str_name("SIGNAL_SIGRTMINPLUS3").expect("CRI has it").into(),
        ..Default::default()
    }
}

/// Changes a good sandbox configuration and expects the complaint.
fn check_sandbox(change: impl FnOnce(&mut v1::PodSandboxConfig), expected: &str) {
    let mut config = sandbox_config();
    change(&mut config);
    let bad = sandbox::config(config).inside("config").expect_err(expected);
    assert_eq!(bad.to_string(), expected);
    assert_eq!(bad.code(), Code::InvalidArgument);
}

/// The same for a container.
fn check_container(change: impl FnOnce(&mut v1::ContainerConfig), expected: &str) {
    let mut config = container_config();
    change(&mut config);
    let bad = container::config(config).inside("config").expect_err(expected);
    assert_eq!(bad.to_string(), expected);
}

#[test]
fn a_sandbox_config_keeps_what_it_says() {
    let model = sandbox::config(sandbox_config()).expect("it is good");
    assert_eq!((model.metadata.name.as_str(), model.metadata.attempt), ("web", 2));
    assert_eq!(model.port_mappings[0].host_port, 5353);
    assert_eq!(model.port_mappings[0].host_ip.map(|ip| ip.is_ipv6()), Some(true));
    let context = model.linux.security_context;
    assert_eq!(context.run_as_user, Some(0), "user 0 is not the same as no user");
    assert_eq!(context.namespace_options.network, NamespaceMode::Node);
    assert_eq!(context.namespace_options.pid, NamespaceMode::Container);
    assert_eq!(context.namespace_options.ipc, NamespaceMode::Pod);
    assert_eq!(context.seccomp, None);
}

#[test]
fn a_bad_sandbox_config_is_told_by_field() {
    check_sandbox(|config| config.metadata = None, "config.metadata: missing");
    check_sandbox(
        |config| config.metadata.as_mut().expect("it is there").name.clear(),
        "config.metadata.name: empty",
    );
    check_sandbox(
        |config| config.port_mappings[0].protocol = 9,
        "config.port_mappings[0].protocol: unknown value 9",
    );
    check_sandbox(
        |config| config.port_mappings[0].host_port = 70_000,
        "config.port_mappings[0].host_port: 70000 is not a port",
    );
    check_sandbox(
        |config| config.port_mappings[0].host_ip = "localhost".into(),
        "config.port_mappings[0].host_ip: \"localhost\" is not an IP address",
    );
    check_sandbox(
        |config| {
            let linux = config.linux.as_mut().expect("it is there");
            let context = linux.security_context.as_mut().expect("it is there");
            context.namespace_options.as_mut().expect("it is there").ipc = 77;
        },
        "config.linux.security_context.namespace_options.ipc: unknown value 77",
    );
}

#[test]
fn a_container_config_keeps_what_it_says() {
    let model = container::config(container_config()).expect("it is good");
    assert_eq!((model.metadata.name.as_str(), model.metadata.attempt), ("nginx", 1));
    assert_eq!((model.envs[0].key.as_str(), model.envs[0].value.as_str()), ("A", "b=c"));
    assert_eq!(model.mounts[0].image, None, "an empty image is no image");
    assert_eq!(model.cdi_devices, ["vendor.com/gpu=0"]);
    assert_eq!(model.stop_signal.map(|signal| signal.number()), Some(37));
}

#[test]
fn a_bad_container_config_is_told_by_field() {
    check_container(|config| config.metadata = None, "config.metadata: missing");
    check_container(|config| config.image = None, "config.image.image: empty");
    check_container(|config| config.envs[0].value = vec![0xff], "config.envs[0].value: not UTF-8");
    check_container(
        |config| config.mounts[0].propagation = 5,
        "config.mounts[0].propagation: unknown value 5",
    );
    check_container(|config| config.stop_signal = 1000, "config.stop_signal: unknown value 1000");
    let seccomp = |profile_type| {
        move |config: &mut v1::ContainerConfig| {
            let context = v1::LinuxContainerSecurityContext {
                seccomp: Some(v1::SecurityProfile { profile_type, localhost_ref: String::new() }),
                ..Default::default()
            };
            config.linux =
                Some(v1::LinuxContainerConfig { security_context: Some(context), ..Default::default() });
        }
    };
    check_container(
        seccomp(v1::security_profile::ProfileType::Localhost.into()),
        "config.linux.security_context.seccomp.localhost_ref: empty",
    );
    check_container(seccomp(4), "config.linux.security_context.seccomp.profile_type: unknown value 4");
}

#[test]
#[allow(deprecated)]
fn profiles_in_the_old_form_are_understood() {
    for (old, expected) in [
        ("", Some(None)),
        ("runtime/default", Some(Some(SecurityProfile::RuntimeDefault))),
        ("unconfined", Some(Some(SecurityProfile::Unconfined))),
        ("localhost/my", Some(Some(SecurityProfile::Localhost("my".into())))),
        ("localhost/", None),
        ("strange", None),
    ] {
        let context =
            v1::LinuxContainerSecurityContext { apparmor_profile: old.into(), ..Default::default() };
        let found = security::container_context(context).ok().map(|context| context.apparmor);
        assert_eq!(found, expected, "{old:?}");
    }
}

#[test]
fn every_signal_of_cri_goes_there_and_back() {
    for number in 1..=65 {
        let signal = v1::Signal::try_from(number).expect("CRI numbers them without gaps");
        let config = v1::ContainerConfig { stop_signal: number, ..container_config() };
        let model = container::config(config).expect("it is good").stop_signal.expect("it is set");
        let status = container::status(ContainerStatus { stop_signal: model, ..container_status() });
        let back = v1::Signal::try_from(status.stop_signal).expect("known");
        let same: linkspan_pod_sandbox::model::Signal = back.as_str_name().parse().expect("a signal");
        assert_eq!(same, model, "{} came back as {}", signal.as_str_name(), back.as_str_name());
    }
}

fn container_status() -> ContainerStatus {
    ContainerStatus {
        id: ContainerId::try_from("ab".repeat(32)).expect("an ID"),
        sandbox_id: SandboxId::try_from("cd".repeat(32)).expect("an ID"),
        metadata: Default::default(),
        state: ContainerState::Exited,
        created_at: Timestamp(1),
        started_at: Timestamp(2),
        finished_at: Timestamp(3),
        exit_code: 137,
        image: Default::default(),
        image_ref: "ref".into(),
        image_id: "id".into(),
        reason: "OOMKilled".into(),
        message: String::new(),
        labels: Default::default(),
        annotations: Default::default(),
        mounts: Vec::new(),
        log_path: "/log".into(),
        resources: Default::default(),
        user: ContainerUser { uid: 1000, gid: 7, supplemental_groups: vec![7, 8] },
        stop_signal: Default::default(),
    }
}

#[test]
fn a_container_status_is_complete() {
    let wire = container::status(container_status());
    assert_eq!(wire.state(), v1::ContainerState::ContainerExited);
    assert_eq!((wire.created_at, wire.started_at, wire.finished_at, wire.exit_code), (1, 2, 3, 137));
    assert_eq!((wire.image_ref.as_str(), wire.image_id.as_str()), ("ref", "id"));
    assert_eq!(wire.stop_signal(), v1::Signal::Sigterm);
    let user = wire.user.and_then(|user| user.linux).expect("a user");
    assert_eq!((user.uid, user.gid, user.supplemental_groups), (1000, 7, vec![7, 8]));
    let item = container::list_item(container_status());
    assert_eq!(item.pod_sandbox_id, "cd".repeat(32));
}

#[test]
fn the_primary_address_comes_first_and_the_others_beside_it() {
    let status = |ips: &[&str]| {
        sandbox::status(SandboxStatus {
            id: SandboxId::try_from("cd".repeat(32)).expect("an ID"),
            metadata: Default::default(),
            state: SandboxState::Ready,
            created_at: Timestamp(1),
            ips: ips.iter().map(|ip| ip.parse().expect("an address")).collect(),
            namespace_options: Default::default(),
            labels: Default::default(),
            annotations: Default::default(),
            runtime_handler: String::new(),
        })
        .network
        .expect("the kubelet reads it without looking")
    };
    assert_eq!(status(&[]).ip, "");
    let both = status(&["10.0.0.2", "fd00::2"]);
    assert_eq!((both.ip.as_str(), both.additional_ips[0].ip.as_str()), ("10.0.0.2", "fd00::2"));
}

#[test]
fn credentials_come_in_four_ways() {
    let basic = |username: &str, password: &str| {
        Some(Credentials::Basic { username: username.into(), password: password.into() })
    };
    let auth = |auth: &str| v1::AuthConfig { auth: auth.into(), ..Default::default() };
    for (wire, expected) in [
        (v1::AuthConfig::default(), None),
        (
            v1::AuthConfig { username: "u".into(), password: "p:q".into(), ..Default::default() },
            basic("u", "p:q"),
        ),
        (auth("dTpwOnE="), basic("u", "p:q")),
        (auth("dTpwOnE"), basic("u", "p:q")),
        (auth("dTpwAAA="), basic("u", "p")),
        (
            v1::AuthConfig { identity_token: "t".into(), username: "u".into(), ..Default::default() },
            Some(Credentials::IdentityToken("t".into())),
        ),
        (
            v1::AuthConfig { registry_token: "t".into(), ..Default::default() },
            Some(Credentials::RegistryToken("t".into())),
        ),
    ] {
        assert_eq!(image::credentials(Some(wire)), Ok(expected.map(Into::into)));
    }
    assert_eq!(image::credentials(None), Ok(None));
    for (bad, reason) in [("!", "not base64"), ("dXA=", "no colon inside the base64")] {
        assert_eq!(image::credentials(Some(auth(bad))), Err(BadField::new("auth.auth", reason)));
    }
}

fn an_image() -> linkspan_image::Image {
    linkspan_image::Image {
        id: "ab".repeat(32).parse().expect("64 digits"),
        repo_tags: vec!["registry.test/users:1".into()],
        repo_digests: Vec::new(),
        size_bytes: 0,
        config: linkspan_image::ImageConfig::default(),
        pinned: false,
        layers: Vec::new(),
        artifact_type: None,
        manifest_json: Default::default(),
        config_json: Default::default(),
    }
}

#[test]
fn an_images_user_is_a_number_or_a_name_and_what_is_neither_cannot_pass_for_a_number() {
    let told = |user: &str| {
        let config = linkspan_image::ImageConfig { user: user.into(), ..Default::default() };
        let wire = image::image(&linkspan_image::Image { config, ..an_image() });
        (wire.uid.map(|uid| uid.value), wire.username)
    };
    for (user, uid, username) in [
        ("", None, ""),
        (":100", None, ""),
        ("0", Some(0), ""),
        ("00", Some(0), ""),
        ("1000", Some(1000), ""),
        ("1000:100", Some(1000), ""),
        ("1000:nobody", Some(1000), ""),
        ("4294967294", Some(4_294_967_294), ""),
        ("www-data", None, "www-data"),
        ("www-data:33", None, "www-data"),
        ("1000 ", None, "1000 "),
        ("0x0", None, "0x0"),
        ("\u{661}", None, "\u{661}"),
        ("-1", None, "-1"),
        ("+5", None, "+5"),
        ("4294967295", None, "4294967295"),
        ("4294967296", None, "4294967296"),
        ("99999999999999999999", None, "99999999999999999999"),
        ("1000:4294967295", None, "1000:4294967295"),
    ] {
        assert_eq!(told(user), (uid, username.to_owned()), "{user:?}");
    }
}

#[test]
fn credentials_name_the_host_they_are_for() {
    let auth = |address: &str| v1::AuthConfig {
        registry_token: "t".into(),
        server_address: address.into(),
        ..Default::default()
    };
    for (address, server) in [
        ("", None),
        ("registry.example", Some("registry.example")),
        ("Registry.Example:5000/v2/", Some("registry.example:5000")),
        ("https://index.docker.io/v1/", Some("index.docker.io")),
        ("http://user:word@[fd00::1]:5000?x#y", Some("[fd00::1]:5000")),
    ] {
        let found = image::credentials(Some(auth(address))).expect(address);
        assert_eq!(found.and_then(|found| found.server).as_deref(), server, "{address}");
    }
    for address in ["https://", "/v1/", "two words"] {
        let refused = image::credentials(Some(auth(address)));
        assert_eq!(refused, Err(BadField::new("auth.server_address", "no host in it")), "{address}");
    }
}

#[test]
fn time_outs_are_checked_and_capped() {
    assert_eq!(field::seconds(30, "timeout").map(|time| time.as_secs()), Ok(30));
    assert_eq!(field::seconds(-1, "timeout"), Err(BadField::new("timeout", "-1 is negative")));
    let forever = field::seconds(i64::MAX, "timeout").expect("long, but good");
    assert!(std::time::Instant::now().checked_add(forever).is_some());
}

#[test]
fn a_pod_network_is_one_range_or_two() {
    let parse = |cidr: &str| {
        let network_config = Some(v1::NetworkConfig { pod_cidr: cidr.into() });
        node::pod_cidr(v1::UpdateRuntimeConfigRequest {
            runtime_config: Some(v1::RuntimeConfig { network_config }),
        })
    };
    for good in ["", "10.0.0.0/24", "10.0.0.0/24,fd00::/64"] {
        assert_eq!(parse(good).as_deref(), Ok(good));
    }
    for bad in ["10.0.0.0", "10.0.0.0/33", "a/8", "10.0.0.0/24,"] {
        assert_eq!(parse(bad).expect_err(bad).field, "pod_cidr");
    }
}

#[test]
fn absent_measures_stay_absent() {
    let stats = linkspan_pod_sandbox::model::ContainerStats {
        attributes: linkspan_pod_sandbox::model::ContainerAttributes {
            id: ContainerId::try_from("ab".repeat(32)).expect("an ID"),
            sandbox_id: SandboxId::try_from("cd".repeat(32)).expect("an ID"),
            metadata: Default::default(),
            labels: Default::default(),
            annotations: Default::default(),
        },
        cgroup: CgroupStats { at: Timestamp(9), cpu_usage_ns: 5, ..CgroupStats::default() },
        usage_nano_cores: None,
        writable_layer: None,
    };
    let wire = stats::container(stats);
    let cpu = wire.cpu.expect("cpu");
    assert_eq!((cpu.timestamp, cpu.usage_core_nano_seconds.map(|value| value.value)), (9, Some(5)));
    assert_eq!((cpu.usage_nano_cores, cpu.psi), (None, None));
    assert_eq!((wire.swap, wire.io, wire.writable_layer), (None, None, None));
}

/// The table of codes. `status.rs` is checked by the compiler to be complete; this is what clients rely on.
#[test]
fn errors_have_the_codes_that_clients_rely_on() {
    use linkspan_image::Error as Image;
    use linkspan_pod_sandbox::{Error as Pods, Refusal};
    use linkspan_runtime_oci::Error as Runtime;
    let unavailable = || Image::RegistryUnavailable { what: "pulling x".into(), reason: "refused".into() };
    for (error, code, message) in [
        (Pods::NoSuchContainer("x".into()), Code::NotFound, "no container \"x\""),
        (Pods::NoSuchSandbox("x".into()), Code::NotFound, "no sandbox \"x\""),
        (
            Pods::NotRunning { id: "x".into(), state: ContainerState::Exited },
            Code::NotFound,
            "container x is not created or running, but Exited",
        ),
        (Pods::Refused(Refusal::ShuttingDown), Code::Unavailable, "the daemon is shutting down"),
        (
            Pods::Refused(Refusal::Exited { id: "x".into() }),
            Code::FailedPrecondition,
            "container x has exited",
        ),
        (
            Pods::BadConfig { field: "config.x".into(), reason: "bad".into() },
            Code::InvalidArgument,
            "config.x: bad",
        ),
        (
            Pods::Image(unavailable()),
            Code::Unavailable,
            "RegistryUnavailable: pulling x: registry unavailable: refused",
        ),
        (
            Pods::Joined(std::sync::Arc::new(Pods::Image(unavailable()))),
            Code::Unavailable,
            "RegistryUnavailable: pulling x: registry unavailable: refused",
        ),
        (
            Pods::ImageVolume { field: "f".into(), source: Box::new(Pods::NoSuchImage("x".into())) },
            Code::NotFound,
            "ImageVolumeMountFailed: f: image \"x\" is not on this node",
        ),
        (
            Pods::Runtime(Runtime::RecursiveReadOnlyUnsupported { container_path: "/a".into() }),
            Code::InvalidArgument,
            "RROUnsupported: mounts.recursive_read_only of /a: the runtime does not support recursive read-only mounts \
             (among the mount options that its `features` names, there is no `rro`)",
        ),
        (
            Pods::TimedOut { what: "x".into(), after: std::time::Duration::from_secs(1) },
            Code::DeadlineExceeded,
            "x did not end within 1s",
        ),
    ] {
        let status = error.to_status();
        assert_eq!((status.code(), status.message()), (code, message));
    }
}

#[test]
fn what_a_node_must_mend_is_heavier_than_what_a_client_asks() {
    assert_eq!(weight(Code::NotFound), Weight::Question);
    assert_eq!(weight(Code::InvalidArgument), Weight::Refusal);
    assert_eq!(weight(Code::Internal), Weight::Failure);
}
