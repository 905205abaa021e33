//! Sandboxes from run to remove.

use std::fs;
use std::time::Duration;

use linkspan_pod_sandbox::model::{
    ContainerState, DnsConfig, NamespaceMode, SandboxFilter, SandboxState, StringMap,
};
use linkspan_pod_sandbox::{Error, EventKind, Refusal};

use crate::node::{PATIENCE, node};

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_from_run_to_remove() {
    let node = node!();
    let sandbox = node.sandbox("whole").await;
    assert_eq!(node.pods.sandbox_status(sandbox.as_str()).unwrap().state, SandboxState::Ready);
    let id = node.running(&sandbox, "main", "echo hello; exec sleep 3600").await;
    assert_eq!(node.status(&id).state, ContainerState::Running);
    assert_eq!(node.exec(&id, "echo answer").await, "answer");
    assert!(node.log("main").contains("stdout F hello\n"), "{}", node.log("main"));
    node.pods.stop_container(id.as_str(), Duration::ZERO).await.unwrap();
    node.pods.remove_container(id.as_str()).await.unwrap();
    assert!(node.log("main").contains("hello"), "the log stays");
    node.pods.stop_sandbox(sandbox.as_str(), Some(PATIENCE)).await.unwrap();
    assert_eq!(node.pods.sandbox_status(sandbox.as_str()).unwrap().state, SandboxState::NotReady);
    node.pods.remove_sandbox(sandbox.as_str()).await.unwrap();
    assert!(matches!(node.pods.sandbox_status(sandbox.as_str()), Err(Error::NoSuchSandbox(_))));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_and_remove_may_be_repeated_and_the_unknown_is_gone() {
    let node = node!();
    let sandbox = node.sandbox("again").await;
    node.running(&sandbox, "main", "exec sleep 3600").await;
    for _ in 0..2 {
        node.pods.stop_sandbox(sandbox.as_str(), Some(PATIENCE)).await.unwrap();
    }
    for _ in 0..2 {
        node.pods.remove_sandbox(sandbox.as_str()).await.unwrap();
    }
    node.pods.stop_sandbox("feed", None).await.unwrap();
    node.pods.remove_sandbox("feed").await.unwrap();
    assert!(matches!(node.pods.stop_sandbox("", None).await, Err(Error::BadConfig { .. })));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_metadata_is_the_same_pod() {
    let node = node!();
    let config = node.sandbox_config("twice");
    let (first, second) =
        tokio::join!(node.pods.run_sandbox(config.clone(), ""), node.pods.run_sandbox(config.clone(), ""));
    let first = first.unwrap();
    assert_eq!(second.unwrap(), first);
    assert_eq!(node.pods.run_sandbox(config.clone(), "").await.unwrap(), first);
    let mut next = config;
    next.metadata.attempt = 1;
    assert_ne!(node.pods.run_sandbox(next, "").await.unwrap(), first);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_finds_its_pod_later() {
    let node = node!();
    let config = node.sandbox_config("left");
    {
        let call = node.pods.run_sandbox(config.clone(), "");
        tokio::select! {
            biased;
            _ = call => panic!("too fast to leave"),
            () = std::future::ready(()) => {}
        }
    }
    let id = node.pods.run_sandbox(config, "").await.unwrap();
    assert_eq!(node.pods.list_sandboxes(&SandboxFilter::default()).len(), 1);
    assert_eq!(node.pods.sandbox_status(id.as_str()).unwrap().state, SandboxState::Ready);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_cannot_be_made_leaves_nothing() {
    let node = node!();
    let mut config = node.sandbox_config("bad");
    config.linux.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "not a number".to_owned());
    assert!(node.pods.run_sandbox(config, "").await.is_err());
    assert_eq!(node.pods.list_sandboxes(&SandboxFilter::default()), []);
    // Nothing is reserved.
    node.sandbox("bad").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_handler_is_named() {
    let node = node!();
    let error = node.pods.run_sandbox(node.sandbox_config("h"), "kata").await.unwrap_err();
    assert!(error.to_string().contains("runtime_handler") && error.to_string().contains("kata"), "{error}");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_by_all_that_is_given() {
    let node = node!();
    let mut labelled = node.sandbox_config("labelled");
    labelled.labels.insert("tier".to_owned(), "web".to_owned());
    let labelled = node.pods.run_sandbox(labelled, "").await.unwrap();
    let plain = node.sandbox("plain").await;
    node.pods.stop_sandbox(plain.as_str(), None).await.unwrap();
    let list = |id: &str, state, labels: &[(&str, &str)]| {
        let label_selector: StringMap =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let filter = SandboxFilter { id: id.to_owned(), state, label_selector };
        node.pods.list_sandboxes(&filter).into_iter().map(|status| status.id).collect::<Vec<_>>()
    };
    assert_eq!(list("", None, &[]).len(), 2);
    assert_eq!(list("", None, &[("tier", "web")]), std::slice::from_ref(&labelled));
    assert_eq!(list("", Some(SandboxState::NotReady), &[]), std::slice::from_ref(&plain));
    assert_eq!(list(&plain.as_str()[..12], None, &[]), [plain]);
    assert_eq!(list(labelled.as_str(), Some(SandboxState::NotReady), &[]), []);
    assert_eq!(list("nonsense", None, &[]), []);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_or_started_in_a_stopped_pod() {
    let node = node!();
    let sandbox = node.sandbox("stopped").await;
    let config = node.container_config("waiting", "true");
    let waiting = node.pods.create_container(sandbox.as_str(), config).await.unwrap();
    node.pods.stop_sandbox(sandbox.as_str(), None).await.unwrap();
    assert_eq!(node.status(&waiting).state, ContainerState::Exited);
    let refused = node.pods.create_container(sandbox.as_str(), node.container_config("late", "true")).await;
    assert!(
        matches!(refused, Err(Error::Joined(error)) if matches!(*error, Error::Refused(Refusal::SandboxNotReady { .. })))
    );
    assert!(matches!(node.pods.start_container(waiting.as_str()).await, Err(Error::Refused(_))));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_whose_pause_dies_is_not_ready_and_can_be_removed() {
    let node = node!();
    let sandbox = node.sandbox("pause").await;
    let info = node.pods.sandbox_info(sandbox.as_str()).unwrap();
    let pid = i32::try_from(info["pid"].as_i64().unwrap()).unwrap();
    linkspan_runtime_oci::Process::of(pid).unwrap().signal(9).unwrap();
    let not_ready = || {
        let status = node.pods.sandbox_status(sandbox.as_str()).unwrap();
        (status.state == SandboxState::NotReady).then_some(())
    };
    node.wait_for("not ready", not_ready).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_the_files_that_it_was_given() {
    let node = node!();
    let mut config = node.sandbox_config("files");
    config.linux.security_context.namespace_options.network = NamespaceMode::Pod;
    config.hostname = "web-0".to_owned();
    config.dns_config = Some(DnsConfig {
        servers: vec!["192.0.2.1".to_owned()],
        searches: vec!["example.org".to_owned()],
        options: vec!["ndots:5".to_owned()],
    });
    config.linux.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
    let sandbox = node.pods.run_sandbox(config, "").await.unwrap();
    let mut container = node.container_config("main", "exec sleep 3600");
    container.linux.security_context.namespace_options.network = NamespaceMode::Pod;
    let id = node.started(&sandbox, container.clone()).await;
    assert_eq!(node.exec(&id, "hostname; cat /etc/hostname; echo $HOSTNAME").await, "web-0\nweb-0\nweb-0");
    let resolv = "search example.org\nnameserver 192.0.2.1\noptions ndots:5";
    assert_eq!(node.exec(&id, "cat /etc/resolv.conf").await, resolv);
    assert_eq!(node.exec(&id, "cat /proc/sys/kernel/shm_rmid_forced").await, "1");
    // Two containers share /dev/shm.
    container.metadata.name = "other".to_owned();
    let other = node.started(&sandbox, container).await;
    node.exec(&id, "echo shared > /dev/shm/note").await;
    assert_eq!(node.exec(&other, "cat /dev/shm/note").await, "shared");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_the_story_in_order() {
    let node = node!();
    let mut events = node.pods.subscribe();
    let sandbox = node.sandbox("story").await;
    let id = node.running(&sandbox, "main", "exit 3").await;
    node.exited(&id).await;
    node.pods.remove_container(id.as_str()).await.unwrap();
    node.pods.stop_sandbox(sandbox.as_str(), None).await.unwrap();
    node.pods.remove_sandbox(sandbox.as_str()).await.unwrap();
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push((event.id, event.kind));
    }
    use EventKind::{Created, Deleted, Started, Stopped};
    let of = |id: &str| told.iter().filter(|(told, _)| told == id).map(|(_, kind)| *kind).collect::<Vec<_>>();
    assert_eq!(of(sandbox.as_str()), [Created, Started, Stopped, Deleted]);
    assert_eq!(of(id.as_str()).first(), Some(&Created));
    assert_eq!(of(id.as_str()).last(), Some(&Deleted));
    assert!(of(id.as_str()).contains(&Stopped));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cgroup_parent_that_was_there_stays() {
    let node = node!();
    let cgroups = linkspan_runtime_oci::Cgroups::detect(&node.config.cgroup).unwrap();
    let parent = format!("/{}/kubelet/pod1", node.config.cgroup.name);
    cgroups.create(&parent).unwrap();
    let mut config = node.sandbox_config("parent");
    config.linux.cgroup_parent.clone_from(&parent);
    let sandbox = node.pods.run_sandbox(config, "").await.unwrap();
    let id = node.running(&sandbox, "main", "exec sleep 3600").await;
    let group = node.exec(&id, "cat /proc/self/cgroup").await;
    assert!(group.contains(&format!("{parent}/{id}")), "{group}");
    node.pods.remove_sandbox(sandbox.as_str()).await.unwrap();
    let left = cgroups.procs_files(&parent);
    assert!(!left.is_empty(), "the kubelet's group was removed");
    assert!(
        left.iter()
            .all(|file| fs::read_dir(file.parent().unwrap()).unwrap().flatten().all(|e| !e.path().is_dir()))
    );
    cgroups.remove(&format!("/{}/kubelet", node.config.cgroup.name)).await.unwrap();
    node.end().await;
}
