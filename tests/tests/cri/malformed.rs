//! Malformed requests: each gets the right code and a message that names the field, and changes nothing.

use anyhow::{Context, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::{need, node, requests};
use tonic::{Code, Status};

type Sandbox = Box<dyn Fn(&mut v1::PodSandboxConfig)>;
type Container = Box<dyn Fn(&mut v1::ContainerConfig)>;

fn sandboxes() -> Vec<(&'static str, Sandbox)> {
    fn case(
        field: &'static str,
        change: impl Fn(&mut v1::PodSandboxConfig) + 'static,
    ) -> (&'static str, Sandbox) {
        (field, Box::new(change))
    }
    fn linux(config: &mut v1::PodSandboxConfig) -> &mut v1::LinuxPodSandboxConfig {
        config.linux.get_or_insert_default()
    }
    fn options(config: &mut v1::PodSandboxConfig) -> &mut v1::NamespaceOption {
        linux(config).security_context.get_or_insert_default().namespace_options.get_or_insert_default()
    }
    fn port(config: &mut v1::PodSandboxConfig, change: impl Fn(&mut v1::PortMapping)) {
        let mut mapping = v1::PortMapping { container_port: 80, host_port: 8080, ..Default::default() };
        change(&mut mapping);
        config.port_mappings.push(mapping);
    }
    vec![
        case("metadata", |c| c.metadata = None),
        case("metadata.name", |c| c.metadata.as_mut().unwrap().name.clear()),
        case("metadata.namespace", |c| c.metadata.as_mut().unwrap().namespace.clear()),
        case("metadata.uid", |c| c.metadata.as_mut().unwrap().uid.clear()),
        case("hostname", |c| c.hostname = "x".repeat(65)),
        case("hostname", |c| c.hostname = "two\nlines".into()),
        case("log_directory", |c| c.log_directory = "relative/path".into()),
        case("log_directory", |c| c.log_directory = "/tmp/../etc".into()),
        case("cgroup_parent", |c| linux(c).cgroup_parent = "/../../outside".into()),
        case("sysctls", |c| {
            linux(c).sysctls.insert("kernel/../../etc/passwd".into(), "1".into());
        }),
        case("sysctls", |c| {
            linux(c).sysctls.insert("kernel.hostname".into(), "one\0two".into());
        }),
        case("container_port", |c| port(c, |p| p.container_port = 70_000)),
        case("host_port", |c| port(c, |p| p.host_port = -1)),
        case("host_ip", |c| port(c, |p| p.host_ip = "not an address".into())),
        case("protocol", |c| port(c, |p| p.protocol = 42)),
        case("namespace_options.network", |c| options(c).network = 42),
        case("namespace_options.pid", |c| options(c).pid = 42),
        case("labels", |c| {
            c.labels.insert("key".into(), "x".repeat(5000));
        }),
        case("dns_config", |c| {
            c.dns_config =
                Some(v1::DnsConfig { servers: vec!["1.2.3.4\nsearch evil".into()], ..Default::default() });
        }),
    ]
}

fn containers() -> Vec<(&'static str, Container)> {
    fn case(
        field: &'static str,
        change: impl Fn(&mut v1::ContainerConfig) + 'static,
    ) -> (&'static str, Container) {
        (field, Box::new(change))
    }
    fn mount(config: &mut v1::ContainerConfig, host: &str, container: &str) {
        config.mounts.push(v1::Mount {
            host_path: host.into(),
            container_path: container.into(),
            ..Default::default()
        });
    }
    vec![
        case("metadata", |c| c.metadata = None),
        case("metadata.name", |c| c.metadata.as_mut().unwrap().name.clear()),
        case("image", |c| c.image = None),
        case("image", |c| c.image.as_mut().unwrap().image.clear()),
        case("log_path", |c| c.log_path = "../../outside.log".into()),
        case("working_dir", |c| c.working_dir = "relative".into()),
        case("envs", |c| c.envs.push(v1::KeyValue { key: String::new(), value: "x".into() })),
        case("envs", |c| c.envs.push(v1::KeyValue { key: "A=B".into(), value: "x".into() })),
        case("envs", |c| c.envs.push(v1::KeyValue { key: "A".into(), value: "x\0y".into() })),
        case("container_path", |c| mount(c, "/tmp", "relative")),
        case("container_path", |c| mount(c, "/tmp", "")),
        case("host_path", |c| mount(c, "relative", "/x")),
        case("host_path", |c| mount(c, "", "/x")),
        case("propagation", |c| {
            mount(c, "/tmp", "/x");
            c.mounts[0].propagation = 42;
        }),
        case("devices", |c| {
            c.devices.push(v1::Device {
                host_path: "/dev/null".into(),
                container_path: "/dev/x".into(),
                permissions: "rwx".into(),
            });
        }),
        case("devices", |c| {
            c.devices.push(v1::Device {
                host_path: "/no/such/device".into(),
                container_path: "/dev/x".into(),
                permissions: "rw".into(),
            });
        }),
    ]
}

fn limits_and_rights() -> Vec<(&'static str, Container)> {
    fn case(
        field: &'static str,
        change: impl Fn(&mut v1::ContainerConfig) + 'static,
    ) -> (&'static str, Container) {
        (field, Box::new(change))
    }
    vec![
        case("memory_limit_in_bytes", |c| requests::resources(c).memory_limit_in_bytes = -5),
        case("memory_limit_in_bytes", |c| requests::resources(c).memory_limit_in_bytes = 1024),
        case("memory_swap_limit_in_bytes", |c| {
            requests::resources(c).memory_limit_in_bytes = 64 << 20;
            requests::resources(c).memory_swap_limit_in_bytes = 32 << 20;
        }),
        case("cpu_period", |c| requests::resources(c).cpu_period = -1),
        case("cpu_shares", |c| requests::resources(c).cpu_shares = -1),
        case("cpuset_cpus", |c| requests::resources(c).cpuset_cpus = "one,two".into()),
        case("oom_score_adj", |c| requests::resources(c).oom_score_adj = 5000),
        case("run_as_user", |c| requests::security(c).run_as_user = Some(v1::Int64Value { value: -1 })),
        case("run_as_group", |c| {
            requests::security(c).run_as_user = Some(v1::Int64Value { value: 1 });
            requests::security(c).run_as_group = Some(v1::Int64Value { value: 1 << 40 });
        }),
        case("run_as_group", |c| requests::security(c).run_as_group = Some(v1::Int64Value { value: 5 })),
        case("supplemental_groups", |c| requests::security(c).supplemental_groups = vec![-7]),
        case("capabilities", |c| {
            requests::security(c).capabilities =
                Some(v1::Capability { add_capabilities: vec!["NO_SUCH".into()], ..Default::default() });
        }),
        case("seccomp", |c| {
            requests::security(c).seccomp =
                requests::profile(v1::security_profile::ProfileType::Localhost, "/no/such/profile.json");
        }),
        case("namespace_options", |c| {
            requests::security(c).namespace_options = Some(v1::NamespaceOption {
                pid: v1::NamespaceMode::Target.into(),
                target_id: "f".repeat(64),
                ..Default::default()
            });
        }),
    ]
}

fn complain(what: &str, field: &str, code: Code, outcome: Result<String, Status>) -> Option<String> {
    match outcome {
        Ok(id) => Some(format!("{what}: {field}: was accepted: {id}")),
        Err(status) if status.code() != code => Some(format!("{what}: {field}: {status}")),
        Err(status) if !status.message().contains(field.rsplit('.').next().unwrap_or(field)) => {
            Some(format!("{what}: {field}: is not named in {:?}", status.message()))
        }
        Err(_) => None,
    }
}

#[tokio::test]
async fn sandboxes_that_cannot_be_are_refused_by_field() {
    need!();
    node::run(async |node| {
        let mut complaints = Vec::new();
        for (field, change) in sandboxes() {
            let mut config = requests::sandbox(node, "bad");
            change(&mut config);
            complaints.extend(complain(
                "RunPodSandbox",
                field,
                Code::InvalidArgument,
                node.run_sandbox(&config, "").await,
            ));
        }
        let config = requests::sandbox(node, "bad");
        let refused =
            node.run_sandbox(&config, "no-such-handler").await.err().context("an unknown handler")?;
        ensure!(refused.message().contains("no-such-handler"), "{refused}");
        ensure!(matches!(refused.code(), Code::InvalidArgument | Code::NotFound), "{refused}");
        let empty =
            node.runtime.run_pod_sandbox(v1::RunPodSandboxRequest::default()).await.map(|_| String::new());
        complaints.extend(complain("RunPodSandbox", "config", Code::InvalidArgument, empty));
        let list = node.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner();
        ensure!(list.items.is_empty(), "{list:?}");
        ensure!(node.leftovers().is_empty(), "{:?}", node.leftovers());
        ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn containers_that_cannot_be_are_refused_by_field() {
    need!();
    node::run(async |node| {
        node.pull(requests::BUSYBOX).await?;
        let sandbox = requests::sandbox(node, "good");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let before = node.leftovers();
        let mut complaints = Vec::new();
        for (field, change) in containers().into_iter().chain(limits_and_rights()) {
            let mut config = requests::idle("bad");
            change(&mut config);
            let outcome = node.create(&sandbox_id, &config, &sandbox).await;
            complaints.extend(complain("CreateContainer", field, Code::InvalidArgument, outcome));
        }
        let unknown = node.create(&"0".repeat(64), &requests::idle("x"), &sandbox).await;
        complaints.extend(complain("CreateContainer", "sandbox", Code::NotFound, unknown));
        let mut config = requests::idle("x");
        config.image = Some(requests::image("UPPER/case:::"));
        let nowhere = node.create(&sandbox_id, &config, &sandbox).await;
        complaints.extend(complain("CreateContainer", "image", Code::NotFound, nowhere));
        let request = v1::CreateContainerRequest { pod_sandbox_id: sandbox_id.clone(), ..Default::default() };
        let empty = node.runtime.create_container(request).await.map(|_| String::new());
        complaints.extend(complain("CreateContainer", "config", Code::InvalidArgument, empty));
        let list = node.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner();
        ensure!(list.containers.is_empty(), "{list:?}");
        let new: Vec<String> = node.leftovers().into_iter().filter(|left| !before.contains(left)).collect();
        ensure!(new.is_empty(), "{new:?}");
        ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn unknown_and_missing_ids_are_told_apart() {
    need!();
    node::run(async |node| {
        let mut complaints = Vec::new();
        for (id, code) in [("0".repeat(64), Code::NotFound), (String::new(), Code::InvalidArgument)] {
            let container_id = id.clone();
            let resources = Some(v1::LinuxContainerResources { cpu_shares: 100, ..Default::default() });
            let update = v1::UpdateContainerResourcesRequest {
                container_id: container_id.clone(),
                linux: resources,
                ..Default::default()
            };
            let reopen = v1::ReopenContainerLogRequest { container_id: container_id.clone() };
            let stats = v1::ContainerStatsRequest { container_id: container_id.clone() };
            let pod_stats = v1::PodSandboxStatsRequest { pod_sandbox_id: id.clone() };
            let done = |_| String::new();
            let outcomes = [
                ("PodSandboxStatus", node.sandbox_status(&id).await.map(|_| String::new())),
                ("ContainerStatus", node.container_status(&id).await.map(|_| String::new())),
                ("StartContainer", node.start_container(&id).await.map(done)),
                ("ExecSync", node.exec(&id, &["true"]).await.map(|_| String::new())),
                (
                    "UpdateContainerResources",
                    node.runtime.update_container_resources(update).await.map(|_| String::new()),
                ),
                (
                    "ReopenContainerLog",
                    node.runtime.reopen_container_log(reopen).await.map(|_| String::new()),
                ),
                ("ContainerStats", node.runtime.container_stats(stats).await.map(|_| String::new())),
                ("PodSandboxStats", node.runtime.pod_sandbox_stats(pod_stats).await.map(|_| String::new())),
            ];
            for (call, outcome) in outcomes {
                let field = match (id.is_empty(), call.starts_with("Pod")) {
                    (false, _) => "00000000",
                    (true, true) => "pod_sandbox_id",
                    (true, false) => "container_id",
                };
                complaints.extend(complain(call, field, code, outcome));
            }
        }
        for (name, code) in [
            ("", Code::InvalidArgument),
            ("UPPER:::case", Code::InvalidArgument),
            ("busybox@sha256:short", Code::InvalidArgument),
        ] {
            let outcome = node.pull(name).await;
            complaints.extend(complain("PullImage", "image", code, outcome));
        }
        let outcome = node.pull(&"x".repeat(100_000)).await;
        complaints.extend(complain("PullImage", "image", Code::InvalidArgument, outcome));
        let none = node.images.pull_image(v1::PullImageRequest::default()).await.map(|_| String::new());
        complaints.extend(complain("PullImage", "image", Code::InvalidArgument, none));
        let none = node.images.image_status(v1::ImageStatusRequest::default()).await.map(|_| String::new());
        complaints.extend(complain("ImageStatus", "image", Code::InvalidArgument, none));
        let none = node.images.remove_image(v1::RemoveImageRequest::default()).await.map(|_| String::new());
        complaints.extend(complain("RemoveImage", "image", Code::InvalidArgument, none));
        let images = node.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        ensure!(images.is_empty(), "{images:?}");
        ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
        Ok(())
    })
    .await;
}
