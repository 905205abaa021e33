//! Limits of containers: set, changed, told, and refused where the host lacks what they need.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::{leftovers, need, node, requests};
use tonic::{Code, Status};

const MIB: i64 = 1 << 20;

/// The groups of a container's first process, by controller; the v2 one under the empty name.
async fn groups(node: &mut Node, id: &str) -> Result<BTreeMap<String, String>> {
    let pid = node.container_info(id).await?["pid"].to_string();
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let mut groups = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        for controller in controllers.split(',') {
            groups.insert(controller.to_owned(), path.to_owned());
        }
    }
    Ok(groups)
}

/// The content of the one of the two files that this host has: of cgroup v1, else of v2.
fn limit(groups: &BTreeMap<String, String>, controller: &str, v1: &str, v2: &str) -> Result<String> {
    let file = match groups.get(controller) {
        Some(path) => format!("/sys/fs/cgroup/{controller}{path}/{v1}"),
        None => format!("/sys/fs/cgroup{}/{v2}", groups.get("").context("a group")?),
    };
    Ok(fs::read_to_string(&file).with_context(|| file)?.trim().to_owned())
}

fn is_v2() -> bool {
    std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

async fn update(node: &mut Node, id: &str, linux: v1::LinuxContainerResources) -> Result<(), Status> {
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(linux),
        ..Default::default()
    };
    node.runtime.update_container_resources(request).await.map(drop)
}

async fn told(node: &mut Node, id: &str) -> Result<v1::LinuxContainerResources> {
    let resources = node.container_status(id).await?.resources.context("resources")?;
    resources.linux.context("Linux resources")
}

fn asked() -> v1::LinuxContainerResources {
    v1::LinuxContainerResources {
        cpu_period: 50_000,
        cpu_quota: 25_000,
        cpu_shares: 512,
        memory_limit_in_bytes: 64 * MIB,
        memory_swap_limit_in_bytes: 64 * MIB,
        oom_score_adj: 900,
        cpuset_cpus: "0".into(),
        cpuset_mems: "0".into(),
        hugepage_limits: vec![v1::HugepageLimit { page_size: "2MB".into(), limit: 4 << 20 }],
        ..Default::default()
    }
}

#[tokio::test]
async fn every_limit_is_set_in_the_containers_group_and_told_by_its_status() {
    need!(Runc);
    node::run(async |node| {
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, &format!("limits-{handler}"));
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = requests::idle("c");
            *requests::resources(&mut config) = asked();
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(told(node, &id).await?, asked(), "{handler}");
            let groups = groups(node, &id).await?;
            let is = |controller, v1, v2| limit(&groups, controller, v1, v2).unwrap();
            if is_v2() {
                assert_eq!(is("-", "", "cpu.max"), "25000 50000");
                assert_eq!(is("-", "", "memory.swap.max"), "0");
            } else {
                assert_eq!(is("cpu", "cpu.cfs_period_us", ""), "50000");
                assert_eq!(is("cpu", "cpu.cfs_quota_us", ""), "25000");
                assert_eq!(is("cpu", "cpu.shares", ""), "512");
                assert_eq!(is("memory", "memory.memsw.limit_in_bytes", ""), (64 * MIB).to_string());
            }
            assert_eq!(is("memory", "memory.limit_in_bytes", "memory.max"), (64 * MIB).to_string());
            assert_eq!(is("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
            assert_eq!(is("cpuset", "cpuset.mems", "cpuset.mems"), "0");
            assert_eq!(is("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"), (4 << 20).to_string());
            assert_eq!(node.shell(&id, "cat /proc/1/oom_score_adj").await?, "900");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn changed_limits_are_in_force_and_told_and_the_others_stay() {
    need!(Runc);
    node::run(async |node| {
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, &format!("changes-{handler}"));
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = requests::idle("c");
            *requests::resources(&mut config) =
                v1::LinuxContainerResources { cpuset_cpus: "0-1".into(), ..asked() };
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let change = v1::LinuxContainerResources {
                memory_limit_in_bytes: 96 * MIB,
                cpu_quota: -1,
                cpuset_cpus: "1".into(),
                // Belongs to processes; the status goes on telling the one they have.
                oom_score_adj: 100,
                ..Default::default()
            };
            update(node, &id, change).await?;
            let expected = v1::LinuxContainerResources {
                memory_limit_in_bytes: 96 * MIB,
                memory_swap_limit_in_bytes: 96 * MIB,
                cpu_quota: -1,
                cpuset_cpus: "1".into(),
                ..asked()
            };
            assert_eq!(told(node, &id).await?, expected, "{handler}");
            let groups = groups(node, &id).await?;
            let is = |controller, v1, v2| limit(&groups, controller, v1, v2).unwrap();
            assert_eq!(is("memory", "memory.limit_in_bytes", "memory.max"), (96 * MIB).to_string());
            assert_eq!(is("cpuset", "cpuset.cpus", "cpuset.cpus"), "1");
            let quota = is("cpu", "cpu.cfs_quota_us", "cpu.max");
            assert_eq!(quota.split(' ').next().unwrap_or_default(), if is_v2() { "max" } else { "-1" });
            assert_eq!(node.shell(&id, "cat /proc/1/oom_score_adj").await?, "900");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn files_of_cgroup_v2_are_written_there_and_refused_on_v1() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "unified");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let unified: BTreeMap<String, String> = [("memory.high".to_owned(), (32 * MIB).to_string())].into();
        let mut config = requests::idle("c");
        requests::resources(&mut config).unified = unified.clone();
        node.pull(requests::BUSYBOX).await?;
        let created = node.create(&sandbox_id, &config, &sandbox).await;
        let change = v1::LinuxContainerResources { unified, ..Default::default() };
        if is_v2() {
            let id = created?;
            node.start_container(&id).await?;
            assert_eq!(limit(&groups(node, &id).await?, "-", "", "memory.high")?, (32 * MIB).to_string());
            update(node, &id, change).await?;
            return Ok(());
        }
        let refused = created.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let expected = "config.linux.resources.unified: names files of cgroup v2";
        assert!(refused.message().contains(expected), "{}", refused.message());
        let id = node.run_container(&sandbox_id, &requests::idle("plain"), &sandbox).await?;
        let refused = update(node, &id, change).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains("linux.unified: names files"), "{}", refused.message());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn only_a_container_that_the_kernel_killed_is_said_to_be_oom_killed() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "reasons");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let eat = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x$x$x; done";
        let cases = [
            // Its child was killed for want of memory; it itself went on, and chose its end.
            ("child", format!("(exec sh -c '{eat}'); exit 3"), 3, "Error"),
            ("done", format!("(exec sh -c '{eat}'); exit 0"), 0, "Completed"),
            ("hungry", eat.to_owned(), 137, "OOMKilled"),
            // The same exit code, and the pod's group has seen kills by now.
            ("itself", "kill -KILL $$; exit 137".to_owned(), 137, "Error"),
        ];
        for (name, line, code, reason) in cases {
            let mut config = requests::container(name, &["sh", "-c", &line]);
            let limits = requests::resources(&mut config);
            limits.memory_limit_in_bytes = 16 * MIB;
            limits.memory_swap_limit_in_bytes = 16 * MIB;
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let status = node.exited(&id).await?;
            assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_stop_signal_of_the_request_goes_before_the_images_and_is_told() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "signals");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let line = "trap 'exit 42' USR1; trap 'exit 43' USR2; trap 'exit 44' TERM; echo ready; \
                    while :; do sleep 1000 & wait; done";
        use v1::Signal::{RuntimeDefault, Sigterm, Sigusr1, Sigusr2};
        let cases = [
            ("request", "registry.linkspan.test/configured", Sigusr2, Sigusr2, 43),
            ("image", "registry.linkspan.test/configured", RuntimeDefault, Sigusr1, 42),
            ("neither", requests::BUSYBOX, RuntimeDefault, Sigterm, 44),
        ];
        for (name, image, wanted, expected, code) in cases {
            let mut config = requests::container(name, &["sh", "-c", line]);
            config.image = Some(requests::image(image));
            config.stop_signal = wanted.into();
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            node.log_lines(&id, |lines| !lines.is_empty()).await?;
            assert_eq!(node.container_status(&id).await?.stop_signal(), expected, "{name}");
            node.stop_container(&id, 20).await?;
            assert_eq!(node.container_status(&id).await?.exit_code, code, "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_whose_limits_cannot_be_set_leaves_no_group() {
    need!();
    node::run(async |node| {
        let mut sandbox = requests::sandbox(node, "no-such-cpu");
        let linux = sandbox.linux.get_or_insert_default();
        linux.resources =
            Some(v1::LinuxContainerResources { cpuset_cpus: "9999".into(), ..Default::default() });
        let groups = || {
            let all = leftovers::cgroups(node.cgroup()).into_iter();
            all.filter(|group| !group.ends_with("monitors") && !group.ends_with(node.cgroup()))
                .collect::<Vec<_>>()
        };
        let request = v1::RunPodSandboxRequest { config: Some(sandbox), runtime_handler: String::new() };
        let refused = node.runtime.clone().run_pod_sandbox(request).await.unwrap_err();
        assert!(refused.message().contains("cpuset.cpus"), "{}", refused.message());
        assert_eq!(groups(), Vec::<std::path::PathBuf>::new());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_memory_limit_below_what_is_in_use_is_refused_and_kills_nobody() {
    need!();
    node::run(async |node| {
        let line =
            "text=$(head -c 20000000 /dev/zero | tr '\\0' x); echo filled; while :; do sleep 1000; done";
        let config = requests::container("full", &["sh", "-c", line]);
        let (_, id) = node.run_pod(&requests::sandbox(node, "full"), &config).await?;
        node.log_lines(&id, |lines| !lines.is_empty()).await?;
        let limit =
            |bytes| v1::LinuxContainerResources { memory_limit_in_bytes: bytes, ..Default::default() };
        update(node, &id, limit(256 * MIB)).await?;
        let refused = update(node, &id, limit(8 * MIB)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains("more than the limit of 8388608"), "{refused}");
        let status = node.container_status(&id).await?;
        assert_eq!(status.state(), v1::ContainerState::ContainerRunning);
        let linux = status.resources.and_then(|resources| resources.linux).context("resources")?;
        assert_eq!(linux.memory_limit_in_bytes, 256 * MIB);
        Ok(())
    })
    .await;
}
