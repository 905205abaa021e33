//! RunPodSandbox to RemovePodSandbox.

use linkspan_cri_api::v1;
use linkspan_tests::{leftovers, need, node, requests};
use tonic::Code;

#[tokio::test]
async fn a_sandbox_is_ready_until_it_is_stopped_and_known_until_it_is_removed() {
    need!();
    node::run(async |node| {
        let mut config = requests::sandbox(node, "one");
        config.labels.insert("app".into(), "web".into());
        config.annotations.insert("note".into(), "with = odd \u{2603} signs".into());
        let id = node.run_sandbox(&config, "").await?;
        let status = node.sandbox_status(&id).await?;
        assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
        assert_eq!(status.metadata, config.metadata);
        assert_eq!(status.labels.get("app").map(String::as_str), Some("web"));
        assert_eq!(status.annotations.get("note"), config.annotations.get("note"));
        assert!(status.created_at > 1_600_000_000_000_000_000, "nanoseconds: {}", status.created_at);
        let address = node.address(&id).await?;
        assert!(node.network.contains(&address), "{address}");

        node.stop_sandbox(&id).await?;
        node.stop_sandbox(&id).await?;
        assert_eq!(node.sandbox_status(&id).await?.state(), v1::PodSandboxState::SandboxNotready);
        node.remove_sandbox(&id).await?;
        node.remove_sandbox(&id).await?;
        assert_eq!(node.sandbox_status(&id).await.unwrap_err().code(), Code::NotFound);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn stopping_and_removing_the_unknown_succeeds() {
    need!();
    node::run(async |node| {
        let id = "0".repeat(64);
        node.stop_sandbox(&id).await?;
        node.remove_sandbox(&id).await?;
        node.stop_container(&id, 1).await?;
        node.remove_container(&id).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_same_name_and_attempt_is_the_same_sandbox_and_another_attempt_another() {
    need!();
    node::run(async |node| {
        let mut config = requests::sandbox(node, "again");
        let first = node.run_sandbox(&config, "").await?;
        assert_eq!(node.run_sandbox(&config, "").await?, first);
        config.metadata.as_mut().unwrap().attempt = 1;
        assert_ne!(node.run_sandbox(&config, "").await?, first);
        config.metadata.as_mut().unwrap().attempt = 0;
        node.stop_sandbox(&first).await?;
        let taken = node.run_sandbox(&config, "").await.unwrap_err();
        assert_eq!(taken.code(), Code::AlreadyExists, "one that is stopped is of no use: {taken}");
        assert!(taken.message().contains(&first), "{taken}");
        node.remove_sandbox(&first).await?;
        config.metadata.as_mut().unwrap().attempt = 0;
        assert_ne!(node.run_sandbox(&config, "").await?, first, "a removed sandbox gives its name back");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn groups_that_were_made_for_a_pods_cgroup_parent_go_with_the_pod() {
    need!();
    node::run(async |node| {
        let outer = format!("{}/outer", node.cgroup());
        let mut config = requests::sandbox(node, "deep");
        config.linux.as_mut().unwrap().cgroup_parent = format!("/{outer}/middle/inner");
        let id = node.run_sandbox(&config, "").await?;
        assert!(!leftovers::cgroups(&format!("{outer}/middle/inner/{id}")).is_empty());
        node.stop_sandbox(&id).await?;
        node.remove_sandbox(&id).await?;
        assert_eq!(leftovers::cgroups(&outer), Vec::<std::path::PathBuf>::new());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn groups_that_were_made_for_one_pods_cgroup_parent_go_with_the_last_pod_in_them() {
    need!();
    node::run(async |node| {
        let outer = format!("{}/outer", node.cgroup());
        let mut ids = Vec::new();
        for name in ["maker", "guest"] {
            let mut config = requests::sandbox(node, name);
            config.linux.as_mut().unwrap().cgroup_parent = format!("/{outer}/inner");
            ids.push(node.run_sandbox(&config, "").await?);
        }
        node.stop_sandbox(&ids[0]).await?;
        node.remove_sandbox(&ids[0]).await?;
        assert!(
            !leftovers::cgroups(&format!("{outer}/inner/{}", ids[1])).is_empty(),
            "the guest is still there"
        );
        node.stop_sandbox(&ids[1]).await?;
        node.remove_sandbox(&ids[1]).await?;
        assert_eq!(leftovers::cgroups(&outer), Vec::<std::path::PathBuf>::new());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_by_id_prefix_state_and_labels_together() {
    need!();
    node::run(async |node| {
        let mut ids = Vec::new();
        for (name, tier) in [("a", "front"), ("b", "front"), ("c", "back")] {
            let mut config = requests::sandbox(node, name);
            config.labels.insert("tier".into(), tier.into());
            ids.push(node.run_sandbox(&config, "").await?);
        }
        node.stop_sandbox(&ids[1]).await?;
        let ready = v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() };
        let front: std::collections::BTreeMap<String, String> = [("tier".into(), "front".into())].into();
        let checks = [
            (v1::PodSandboxFilter::default(), vec![0, 1, 2]),
            (v1::PodSandboxFilter { id: ids[2][..12].to_owned(), ..Default::default() }, vec![2]),
            (v1::PodSandboxFilter { id: "f00".repeat(20), ..Default::default() }, vec![]),
            (v1::PodSandboxFilter { state: Some(ready), ..Default::default() }, vec![0, 2]),
            (v1::PodSandboxFilter { label_selector: front.clone(), ..Default::default() }, vec![0, 1]),
            (v1::PodSandboxFilter { state: Some(ready), label_selector: front, id: String::new() }, vec![0]),
        ];
        for (filter, expected) in checks {
            let request = v1::ListPodSandboxRequest { filter: Some(filter.clone()) };
            let items = node.runtime.list_pod_sandbox(request).await?.into_inner().items;
            let mut found: Vec<String> = items.into_iter().map(|item| item.id).collect();
            let mut expected: Vec<String> =
                expected.into_iter().map(|index: usize| ids[index].clone()).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{filter:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn containers_see_the_pods_hostname_dns_and_sysctls() {
    need!();
    node::run(async |node| {
        let mut config = requests::sandbox(node, "named");
        config.hostname = "some-host".into();
        config.dns_config = Some(v1::DnsConfig {
            servers: vec!["10.1.2.3".into()],
            searches: vec!["one.test".into(), "two.test".into()],
            options: vec!["ndots:5".into()],
        });
        let linux = config.linux.as_mut().unwrap();
        linux.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
        linux.sysctls.insert("net.ipv4.ip_local_port_range".into(), "2000 3000".into());
        let (_, id) = node.run_pod(&config, &requests::idle("c")).await?;
        assert_eq!(node.output(&id, &["hostname"]).await?, "some-host");
        let resolv = node.output(&id, &["cat", "/etc/resolv.conf"]).await?;
        for line in ["nameserver 10.1.2.3", "search one.test two.test", "options ndots:5"] {
            assert!(resolv.lines().any(|found| found == line), "{line} is not in {resolv:?}");
        }
        assert_eq!(node.output(&id, &["cat", "/proc/sys/kernel/shm_rmid_forced"]).await?, "1");
        assert_eq!(node.output(&id, &["cat", "/proc/sys/net/ipv4/ip_local_port_range"]).await?, "2000\t3000");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn containers_of_a_pod_share_network_ipc_and_shm() {
    need!();
    node::run(async |node| {
        let config = requests::sandbox(node, "shared");
        let (sandbox_id, one) = node.run_pod(&config, &requests::idle("one")).await?;
        let two = node.run_container(&sandbox_id, &requests::idle("two"), &config).await?;
        for namespace in ["net", "ipc", "uts"] {
            let link = format!("/proc/1/ns/{namespace}");
            let (first, second) = (
                node.output(&one, &["readlink", &link]).await?,
                node.output(&two, &["readlink", &link]).await?,
            );
            assert_eq!(first, second, "{namespace}");
        }
        node.shell(&one, "echo hello > /dev/shm/note").await?;
        assert_eq!(node.output(&two, &["cat", "/dev/shm/note"]).await?, "hello");
        let (first, second) = (
            node.output(&one, &["readlink", "/proc/1/ns/pid"]).await?,
            node.output(&two, &["readlink", "/proc/1/ns/pid"]).await?,
        );
        assert_ne!(first, second, "each has processes of its own");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_may_share_its_processes() {
    need!();
    node::run(async |node| {
        let mut config = requests::sandbox(node, "processes");
        let options = v1::NamespaceOption::default();
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options =
            Some(options.clone());
        let mut container = requests::idle("one");
        requests::security(&mut container).namespace_options = Some(options.clone());
        let (sandbox_id, _) = node.run_pod(&config, &container).await?;
        let mut sleeper = requests::container("two", &["sleep", "4321"]);
        requests::security(&mut sleeper).namespace_options = Some(options);
        let two = node.run_container(&sandbox_id, &sleeper, &config).await?;
        let processes = node.output(&two, &["ps"]).await?;
        assert!(processes.contains("sleep 1000") && processes.contains("sleep 4321"), "{processes}");
        node.stop_container(&two, 0).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_in_the_hosts_network_has_no_address_of_its_own() {
    need!();
    node::run(async |node| {
        let mut config = requests::sandbox(node, "host");
        let options =
            v1::NamespaceOption { network: v1::NamespaceMode::Node.into(), ..requests::namespaces() };
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options =
            Some(options.clone());
        let mut container = requests::idle("c");
        requests::security(&mut container).namespace_options = Some(options);
        let (_, id) = node.run_pod(&config, &container).await?;
        let inside = node.output(&id, &["readlink", "/proc/1/ns/net"]).await?;
        assert_eq!(inside, std::fs::read_link("/proc/self/ns/net")?.display().to_string());
        assert_eq!(node.network.addresses()?, Vec::<String>::new());
        Ok(())
    })
    .await;
}

/// The kubelet mounts a file of its own there; others do not.
#[tokio::test]
async fn a_container_in_the_hosts_network_has_a_copy_of_the_hosts_names() {
    need!();
    node::run(async |node| {
        let of_host = std::fs::read_to_string("/etc/hosts")?;
        let mut config = requests::sandbox(node, "host");
        let options =
            v1::NamespaceOption { network: v1::NamespaceMode::Node.into(), ..requests::namespaces() };
        config.linux.as_mut().unwrap().security_context.as_mut().unwrap().namespace_options =
            Some(options.clone());
        let idle = |name: &str| {
            let mut container = requests::idle(name);
            requests::security(&mut container).namespace_options = Some(options.clone());
            container
        };
        let (sandbox_id, id) = node.run_pod(&config, &idle("one")).await?;
        assert_eq!(node.output(&id, &["cat", "/etc/hosts"]).await?, of_host.trim_end_matches('\n'));
        // Nothing that would matter on the host if this failed.
        node.shell(&id, "echo '# written by a container' >>/etc/hosts").await?;
        assert_eq!(std::fs::read_to_string("/etc/hosts")?, of_host);
        let another = node.run_container(&sandbox_id, &idle("two"), &config).await?;
        let seen = node.output(&another, &["tail", "-n1", "/etc/hosts"]).await?;
        assert_eq!(seen, "# written by a container", "it is the pod's");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn every_configured_handler_runs_pods() {
    need!(Runc);
    node::run(async |node| {
        let status = node.runtime.status(v1::StatusRequest::default()).await?.into_inner();
        let names: Vec<&str> = status.runtime_handlers.iter().map(|handler| handler.name.as_str()).collect();
        assert!(["", "crun", "runc"].iter().all(|name| names.contains(name)), "{names:?}");
        node.pull(requests::BUSYBOX).await?;
        for handler in ["crun", "runc"] {
            let config = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&config, handler).await?;
            assert_eq!(node.sandbox_status(&sandbox_id).await?.runtime_handler, handler);
            let id = node.run_container(&sandbox_id, &requests::idle("c"), &config).await?;
            assert_eq!(node.output(&id, &["echo", "hello"]).await?, "hello");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn removing_a_sandbox_takes_its_running_containers_along() {
    need!();
    node::run(async |node| {
        let (sandbox_id, id) = node
            .run_pod(&requests::sandbox(node, "forced"), &requests::container("c", &["sleep", "1000"]))
            .await?;
        node.stop_sandbox(&sandbox_id).await?;
        assert_eq!(node.container_status(&id).await?.state(), v1::ContainerState::ContainerExited);
        node.remove_sandbox(&sandbox_id).await?;
        assert_eq!(node.container_status(&id).await.unwrap_err().code(), Code::NotFound);
        Ok(())
    })
    .await;
}
