//! CreateContainer to RemoveContainer, what containers are given, and what their status says.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use linkspan_cri_api::v1;
use linkspan_tests::node::Options;
use linkspan_tests::{need, node, requests, tools, wait};
use tonic::Code;

#[tokio::test]
async fn a_container_is_created_runs_ends_and_goes() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "life");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let image_id = node.pull(requests::BUSYBOX).await?;
        let shell = "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait; done";
        let mut config = requests::container("c", &["sh", "-c", shell]);
        config.labels.insert("kind".into(), "test".into());
        config.annotations.insert("note".into(), "kept".into());
        let id = node.create(&sandbox_id, &config, &sandbox).await?;
        let created = node.container_status(&id).await?;
        assert_eq!(created.state(), v1::ContainerState::ContainerCreated);
        assert_eq!((created.started_at, created.finished_at), (0, 0));
        assert!(created.created_at > 0);
        assert_eq!(created.image_id, image_id);
        assert_eq!((&created.labels, &created.annotations), (&config.labels, &config.annotations));
        assert!(fs::metadata(&created.log_path).is_ok(), "the log is there from the beginning");

        node.start_container(&id).await?;
        let running = node.container_status(&id).await?;
        assert_eq!(running.state(), v1::ContainerState::ContainerRunning);
        assert!(running.started_at >= running.created_at && running.finished_at == 0);
        assert_eq!(running.created_at, created.created_at);
        let again = node.start_container(&id).await.unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition, "{again}");
        assert_eq!(node.create(&sandbox_id, &config, &sandbox).await?, id, "a retry");

        // Before its trap is set, a first process of a namespace ignores the signal.
        node.log_lines(&id, |lines| !lines.is_empty()).await?;
        node.stop_container(&id, 10).await?;
        node.stop_container(&id, 10).await?;
        let exited = node.container_status(&id).await?;
        assert_eq!(exited.state(), v1::ContainerState::ContainerExited);
        assert!(exited.finished_at >= exited.started_at);
        assert_eq!((exited.exit_code, exited.reason.as_str()), (0, "Completed"));
        let taken = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        assert_eq!(taken.code(), Code::AlreadyExists, "one that has ended is of no use: {taken}");
        assert!(taken.message().contains(&id), "{taken}");
        node.remove_container(&id).await?;
        node.remove_container(&id).await?;
        assert_eq!(node.container_status(&id).await.unwrap_err().code(), Code::NotFound);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_is_stopped_while_it_is_started_has_its_grace() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    let (hold, started) = (folder.path().join("hold"), folder.path().join("started"));
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' start '*) {crun} \"$@\" || exit; : >{}; while [ -e {} ]; do sleep 0.02; done; exit;; \
         esac\nexec {crun} \"$@\"\n",
        started.display(),
        hold.display(),
        crun = tools::crun().display(),
    );
    let runtime = tools::script(folder.path().join("slow"), &script).unwrap();
    fs::write(&hold, "").unwrap();
    let options = Options { runtimes: vec![("slow".to_owned(), runtime)], ..Options::default() };
    node::with(options, async |node| {
        let sandbox = requests::sandbox(node, "hasty");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let id = node.create(&sandbox_id, &requests::idle("c"), &sandbox).await?;
        let (mut starting, mut stopping) = (node.runtime.clone(), node.runtime.clone());
        let request = v1::StartContainerRequest { container_id: id.clone() };
        let start = tokio::spawn(async move { starting.start_container(request).await });
        wait::until("the runtime has started it", Duration::from_secs(10), async || {
            anyhow::ensure!(started.exists());
            Ok(())
        })
        .await?;
        node.trapped(&id).await?;
        let request = v1::StopContainerRequest { container_id: id.clone(), timeout: 30 };
        let stop = stopping.stop_container(request);
        let release = async {
            // Answered after the stop has come.
            node.container_status(&id).await?;
            node.container_status(&id).await?;
            Ok::<_, anyhow::Error>(fs::remove_file(&hold)?)
        };
        let (stopped, released) = tokio::join!(stop, release);
        released?;
        stopped?;
        start.await??;
        assert_eq!(node.container_status(&id).await?.exit_code, 0, "it was killed without grace");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn exits_are_told_with_code_and_reason() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "exits");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        for (name, line, code, reason) in [
            ("fine", "exit 0", 0, "Completed"),
            ("three", "exit 3", 3, "Error"),
            ("killed", "kill -KILL $$", 137, "Error"),
            ("aborted", "kill -ABRT $$; sleep 10", 134, "Error"),
        ] {
            let config = requests::container(name, &["sh", "-c", line]);
            // The first process of a namespace ignores signals that it has no handler for, but for those from outside.
            let mut config = config;
            if code > 128 {
                config.command = vec!["sh".into(), "-c".into(), format!("sh -c '{line}'; exit $?")];
            }
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let status = node.exited(&id).await?;
            assert_eq!((status.exit_code, status.reason.as_str()), (code, reason), "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_ignores_the_stop_signal_is_killed_after_its_grace() {
    need!();
    node::run(async |node| {
        let config =
            requests::container("c", &["sh", "-c", "trap '' TERM; while :; do sleep 1000 & wait; done"]);
        let (_, id) = node.run_pod(&requests::sandbox(node, "stubborn"), &config).await?;
        let started = std::time::Instant::now();
        node.stop_container(&id, 1).await?;
        assert!(started.elapsed().as_secs_f64() >= 0.9, "killed too early: {:?}", started.elapsed());
        assert_eq!(node.container_status(&id).await?.exit_code, 137);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_image_says_what_the_request_leaves_open() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "configured");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let mut config = requests::container("defaults", &[]);
        config.image = Some(requests::image("registry.linkspan.test/configured"));
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.logged(&id).await?, "entrypoint command\n");

        let mut config = requests::container("args", &[]);
        config.image = Some(requests::image("registry.linkspan.test/configured"));
        config.args = vec!["other".into()];
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.logged(&id).await?, "entrypoint other\n");

        let line = "id -u; id -g; pwd; echo $FROM_IMAGE $MINE; echo $HOME; echo [$EMPTY]";
        let mut config = requests::container("command", &["sh", "-c", line]);
        config.image = Some(requests::image("registry.linkspan.test/configured"));
        config.envs = vec![v1::KeyValue { key: "MINE".into(), value: "a b=c".into() }];
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        let expected = "1000\n1000\n/home/default-user\nyes a b=c\n/home/default-user\n[]\n";
        assert_eq!(node.logged(&id).await?, expected);

        let mut config = requests::container("changed", &["sh", "-c", "pwd; echo $FROM_IMAGE"]);
        config.image = Some(requests::image("registry.linkspan.test/configured"));
        config.working_dir = "/tmp".into();
        config.envs = vec![v1::KeyValue { key: "FROM_IMAGE".into(), value: "no".into() }];
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.logged(&id).await?, "/tmp\nno\n");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn host_paths_are_mounted_as_asked_and_made_if_missing() {
    need!();
    node::run(async |node| {
        let host = node.prefix().join("host");
        fs::create_dir_all(host.join("present"))?;
        fs::write(host.join("file"), "from the host")?;
        let mount = |from: &str, to: &str, readonly| v1::Mount {
            host_path: host.join(from).display().to_string(),
            container_path: to.to_owned(),
            readonly,
            ..Default::default()
        };
        let mut config = requests::idle("c");
        config.mounts = vec![
            mount("present", "/rw", false),
            mount("present", "/ro", true),
            mount("missing", "/deep/er/missing", false),
            mount("file", "/etc/one-file", true),
        ];
        let (_, id) = node.run_pod(&requests::sandbox(node, "mounts"), &config).await?;
        node.shell(&id, "echo hello > /rw/note").await?;
        assert_eq!(fs::read_to_string(host.join("present/note"))?, "hello\n");
        assert_eq!(node.output(&id, &["cat", "/ro/note"]).await?, "hello");
        assert_ne!(node.exec(&id, &["touch", "/ro/other"]).await?.exit_code, 0);
        node.shell(&id, "echo x > /deep/er/missing/made").await?;
        assert!(host.join("missing/made").is_file());
        assert_eq!(node.output(&id, &["cat", "/etc/one-file"]).await?, "from the host");
        let mounts = node.container_status(&id).await?.mounts;
        let told: Vec<(String, bool)> = mounts.into_iter().map(|m| (m.container_path, m.readonly)).collect();
        for asked in [("/rw", false), ("/ro", true), ("/deep/er/missing", false)] {
            assert!(told.contains(&(asked.0.to_owned(), asked.1)), "{asked:?} is not in {told:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn mount_options_hold() {
    need!();
    node::run(async |node| {
        let host = node.prefix().join("host");
        fs::create_dir_all(&host)?;
        fs::copy("/bin/true", host.join("program"))?;
        let mount = |to: &str, options: &[&str]| v1::Mount {
            host_path: host.display().to_string(),
            container_path: to.to_owned(),
            mount_options: options.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let mut config = requests::idle("c");
        config.mounts = vec![mount("/plain", &[]), mount("/strict", &["noexec", "nosuid", "nodev"])];
        let (_, id) = node.run_pod(&requests::sandbox(node, "options"), &config).await?;
        let table = node.output(&id, &["cat", "/proc/self/mounts"]).await?;
        let options = |path: &str| {
            let line = table.lines().find(|line| line.split(' ').nth(1) == Some(path));
            line.and_then(|line| line.split(' ').nth(3)).unwrap_or_default().to_owned()
        };
        assert!(options("/strict").contains("nosuid,nodev,noexec"), "{table}");
        assert!(!options("/plain").contains("noexec"), "{table}");
        let refused = node.exec(&id, &["sh", "-c", "/strict/program"]).await?;
        assert!(refused.exit_code != 0, "{refused:?}");
        let mounts = node.container_status(&id).await?.mounts;
        assert!(
            mounts.iter().any(|mount| mount.mount_options == ["noexec", "nosuid", "nodev"]),
            "{mounts:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn limits_hold_and_can_be_changed_while_it_runs() {
    need!();
    node::run(async |node| {
        let mut config = requests::idle("c");
        let limits = requests::resources(&mut config);
        limits.memory_limit_in_bytes = 128 << 20;
        limits.cpu_shares = 512;
        limits.cpu_period = 100_000;
        limits.cpu_quota = 50_000;
        let (_, id) = node.run_pod(&requests::sandbox(node, "limits"), &config).await?;
        let told = node.container_status(&id).await?.resources.and_then(|r| r.linux).unwrap_or_default();
        assert_eq!((told.memory_limit_in_bytes, told.cpu_shares, told.cpu_quota), (128 << 20, 512, 50_000));
        assert_eq!(memory_limit(&node.container_info(&id).await?["pid"].to_string())?, 128 << 20);
        let request = v1::UpdateContainerResourcesRequest {
            container_id: id.clone(),
            linux: Some(v1::LinuxContainerResources {
                memory_limit_in_bytes: 256 << 20,
                cpu_quota: 80_000,
                cpu_period: 100_000,
                ..Default::default()
            }),
            ..Default::default()
        };
        node.runtime.update_container_resources(request).await?;
        let told = node.container_status(&id).await?.resources.and_then(|r| r.linux).unwrap_or_default();
        assert_eq!((told.memory_limit_in_bytes, told.cpu_shares, told.cpu_quota), (256 << 20, 512, 80_000));
        assert_eq!(memory_limit(&node.container_info(&id).await?["pid"].to_string())?, 256 << 20);
        Ok(())
    })
    .await;
}

/// The limit in the memory group of a process, whichever version of cgroups.
fn memory_limit(pid: &str) -> anyhow::Result<u64> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let file = match controllers {
            "memory" => format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"),
            "" => format!("/sys/fs/cgroup{path}/memory.max"),
            _ => continue,
        };
        if let Ok(text) = fs::read_to_string(&file) {
            return Ok(text.trim().parse()?);
        }
    }
    anyhow::bail!("no memory group in {groups}")
}

#[tokio::test]
async fn a_container_that_takes_too_much_memory_is_said_to_be_oom_killed() {
    need!();
    node::run(async |node| {
        let mut config =
            requests::container("c", &["sh", "-c", "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x$x$x; done"]);
        let limits = requests::resources(&mut config);
        limits.memory_limit_in_bytes = 16 << 20;
        limits.memory_swap_limit_in_bytes = 16 << 20;
        let (_, id) = node.run_pod(&requests::sandbox(node, "hungry"), &config).await?;
        let status = node.exited(&id).await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_stop_signal_of_the_image_is_the_one_that_is_sent() {
    need!();
    node::run(async |node| {
        let line = "trap 'exit 42' USR1; echo ready; while :; do sleep 1000 & wait; done";
        let mut config = requests::container("c", &["sh", "-c", line]);
        config.image = Some(requests::image("registry.linkspan.test/configured"));
        let (_, id) = node.run_pod(&requests::sandbox(node, "signal"), &config).await?;
        // Before its trap is set, a first process of a namespace ignores the signal.
        node.log_lines(&id, |lines| !lines.is_empty()).await?;
        node.stop_container(&id, 20).await?;
        assert_eq!(node.container_status(&id).await?.exit_code, 42);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn lists_are_filtered_by_sandbox_state_and_labels() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "lists");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let other = requests::sandbox(node, "other");
        let (other_id, _) = node.run_pod(&other, &requests::idle("x")).await?;
        let mut config = requests::idle("running");
        config.labels.insert("kind".into(), "a".into());
        let running = node.run_container(&sandbox_id, &config, &sandbox).await?;
        let created = node.create(&sandbox_id, &requests::idle("created"), &sandbox).await?;
        let state = |state: v1::ContainerState| Some(v1::ContainerStateValue { state: state.into() });
        let labels: BTreeMap<String, String> = [("kind".into(), "a".into())].into();
        let sandboxed = v1::ContainerFilter { pod_sandbox_id: sandbox_id.clone(), ..Default::default() };
        for (filter, expected) in [
            (sandboxed.clone(), vec![&running, &created]),
            (
                v1::ContainerFilter {
                    state: state(v1::ContainerState::ContainerRunning),
                    ..sandboxed.clone()
                },
                vec![&running],
            ),
            (v1::ContainerFilter { label_selector: labels, ..Default::default() }, vec![&running]),
            (v1::ContainerFilter { id: created[..10].to_owned(), ..Default::default() }, vec![&created]),
            (
                v1::ContainerFilter { id: created.clone(), pod_sandbox_id: other_id, ..Default::default() },
                vec![],
            ),
        ] {
            let request = v1::ListContainersRequest { filter: Some(filter.clone()) };
            let list = node.runtime.list_containers(request).await?.into_inner().containers;
            let mut found: Vec<&String> = list.iter().map(|container| &container.id).collect();
            let mut expected = expected;
            found.sort();
            expected.sort();
            assert_eq!(found, expected, "{filter:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_container_that_cannot_start_says_why_and_leaves_nothing() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "broken");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let config = requests::container("c", &["/no/such/program"]);
        let refused = match node.create(&sandbox_id, &config, &sandbox).await {
            Ok(id) => node.start_container(&id).await.unwrap_err(),
            Err(refused) => refused,
        };
        assert!(refused.message().contains("/no/such/program"), "{refused}");
        let mut config = requests::idle("c");
        config.image = Some(requests::image("registry.linkspan.test/never-pulled"));
        let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        node.stop_sandbox(&sandbox_id).await?;
        let refused = node.create(&sandbox_id, &requests::idle("late"), &sandbox).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn many_stops_at_once_are_one_stop() {
    need!();
    node::run(async |node| {
        let config =
            requests::container("c", &["sh", "-c", "trap '' TERM; while :; do sleep 1000 & wait; done"]);
        let (_, id) = node.run_pod(&requests::sandbox(node, "stops"), &config).await?;
        let stops = (0..50).map(|number| {
            let mut runtime = node.runtime.clone();
            let request = v1::StopContainerRequest { container_id: id.clone(), timeout: 60 - number };
            async move { runtime.stop_container(request).await.map(drop) }
        });
        let hasty = v1::StopContainerRequest { container_id: id.clone(), timeout: 1 };
        let mut runtime = node.runtime.clone();
        let started = std::time::Instant::now();
        let (slow, fast) = tokio::join!(futures_util::future::join_all(stops), async move {
            runtime.stop_container(hasty).await
        });
        fast?;
        slow.into_iter().collect::<Result<Vec<()>, _>>()?;
        assert!(
            started.elapsed().as_secs() < 30,
            "the shortest grace holds for all: {:?}",
            started.elapsed()
        );
        Ok(())
    })
    .await;
}
