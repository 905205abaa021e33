//! Other engines on the same node, another daemon of ours among them: what is theirs stays as it is, whatever becomes of this
//! daemon.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools, wait};

mod foreign;

use foreign::Foreign;

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_pod_of_another_engine_keeps_its_network_whatever_the_daemon_does() {
    need!();
    node::run(async |node| {
        let theirs = Foreign::attach(node).await?;
        theirs.is_whole(node, "before")?;
        let check = Command::new(tools::daemon()).args(["check", "--prefix"]).arg(node.prefix()).output()?;
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        ensure!(said.contains("that are not of this daemon: 1; they are left alone"), "{said}");
        node.kill()?;
        node.start_again().await?;
        theirs.is_whole(node, "after a start")?;

        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "ours"), &requests::idle("c")).await?;
        assert_ne!(node.address(&sandbox_id).await?, theirs.address);
        node.output(&id, &["ping", "-c", "1", "-W", "5", &theirs.address]).await?;
        node.kill()?;
        node.start_again().await?;
        theirs.is_whole(node, "after a kill with a pod")?;
        node.output(&id, &["ping", "-c", "1", "-W", "5", &theirs.address]).await?;
        node.remove_pods().await?;
        theirs.is_whole(node, "without our pods")?;
        node.stop().await?;
        theirs.is_whole(node, "after a stop")?;
        node.start_again().await?;
        theirs.is_whole(node, "after another start")?;
        theirs.detach()?;
        assert_eq!(node.network.addresses()?, [""; 0]);
        Ok(())
    })
    .await;
}

/// A plugin that notes what it is called for, before the node's own ones.
fn recording_plugins(folder: &Path) -> Result<PathBuf> {
    let script = format!(
        "#!/bin/sh\ncat >{0}/$CNI_COMMAND.json\necho \"$CNI_COMMAND $CNI_CONTAINERID\" >>{0}/calls\n\
         echo \"$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS\" >>{0}/namespaces\n\
         case $CNI_COMMAND in ADD) echo '{{\"cniVersion\":\"1.1.0\"}}';; esac\n",
        folder.display()
    );
    Ok(tools::cni_plugins_and(folder, "recorder", &script)?)
}

/// Puts the recorder before the network's own plugins, in a version of CNI with GC; the network's name.
async fn record(node: &mut Node) -> Result<String> {
    let change = |list: &mut serde_json::Value| {
        list["cniVersion"] = "1.1.0".into();
        list["plugins"].as_array_mut().unwrap().insert(0, serde_json::json!({ "type": "recorder" }));
    };
    node.change_network(change).await
}

/// A node whose plugins note what they are called for, in a folder; with the name of its network.
async fn with_recorder(test: impl AsyncFnOnce(&mut Node, &Path, &str) -> Result<()>) {
    let folder = tempfile::tempdir().expect("a folder");
    let bin = recording_plugins(folder.path()).expect("plugins");
    let options = Options { cni_bin_dir: Some(bin), ..Options::default() };
    node::with(options, async |node| {
        let name = record(node).await?;
        test(node, folder.path(), &name).await
    })
    .await;
}

/// Until the recorder, which is the last to hear of a DEL, has noted a call.
async fn is_called(folder: &Path, verb: &str) -> Result<()> {
    wait::until("the plugins are called", DEADLINE, async || {
        let calls = fs::read_to_string(folder.join("calls")).unwrap_or_default();
        ensure!(calls.lines().any(|call| call.starts_with(verb)), "no {verb} in {calls}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn plugins_collect_what_is_ours_and_hear_that_the_rest_is_valid() {
    need!();
    with_recorder(async |node, folder, name| {
        let sandbox_id = node.run_sandbox(&requests::sandbox(node, "ours"), "").await?;
        let theirs = Foreign::attach(node).await?;
        node.kill()?;
        // What a daemon notes before ADD, and has not lived to take back: an attachment of ours without a pod.
        let stray = "5".repeat(64);
        let results = node.prefix().join("var/lib/cni/results");
        let entry = fs::read_to_string(results.join(format!("{name}-{sandbox_id}-eth0")))?;
        let mut entry: serde_json::Value = serde_json::from_str(&entry.replace(&sandbox_id, &stray))?;
        entry.as_object_mut().unwrap().remove("result");
        fs::write(results.join(format!("{name}-{stray}-eth0")), entry.to_string())?;
        fs::remove_file(folder.join("calls"))?;

        node.start_again().await?;
        is_called(folder, "GC").await?;
        let calls = fs::read_to_string(folder.join("calls"))?;
        let calls: Vec<&str> = calls.lines().filter(|call| !call.starts_with("STATUS")).collect();
        assert_eq!(calls, [format!("DEL {stray}").as_str(), "GC "]);
        let gc: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("GC.json"))?)?;
        let valid = gc["cni.dev/valid-attachments"].as_array().unwrap();
        let valid: Vec<&str> = valid.iter().filter_map(|one| one["containerID"].as_str()).collect();
        assert_eq!(valid, [sandbox_id.as_str(), &theirs.id]);
        assert!(!results.join(format!("{name}-{stray}-eth0")).exists());
        theirs.is_whole(node, "after GC")?;
        theirs.detach()
    })
    .await;
}

/// A plugin that does not see the namespace cannot know what to take back: bridge leaves its masquerading rules.
#[tokio::test]
async fn a_pod_whose_record_is_lost_is_detached_while_its_namespace_is_there() {
    need!();
    with_recorder(async |node, folder, _| {
        let sandbox_id = node.run_sandbox(&requests::sandbox(node, "lost"), "").await?;
        node.kill()?;
        let record = node.prefix().join("var/lib/linkspan/state/sandboxes");
        fs::remove_file(record.join(format!("{sandbox_id}.json")))?;
        node.start_again().await?;
        let pod = node.prefix().join("run/linkspan/pods").join(&sandbox_id);
        wait::until("the pod is collected", DEADLINE, async || {
            ensure!(!pod.exists(), "{} is there", pod.display());
            Ok(())
        })
        .await?;
        let calls = fs::read_to_string(folder.join("namespaces"))?;
        let netns = calls.lines().find_map(|call| call.strip_prefix(&format!("DEL {sandbox_id}")));
        ensure!(netns.is_some_and(|netns| netns.trim().starts_with('/')), "without a namespace: {calls}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn two_daemons_with_one_cgroup_name_leave_each_others_pods_alone() {
    need!();
    node::run(async |one| {
        let (_, id) = one.run_pod(&requests::sandbox(one, "one"), &requests::idle("c")).await?;
        let options = Options { cgroup: Some(one.cgroup().to_owned()), ..Options::default() };
        node::with(options, async |two| {
            assert_eq!(one.output(&id, &["echo", "alive"]).await?, "alive", "after the other's start");
            let (_, other) = two.run_pod(&requests::sandbox(two, "two"), &requests::idle("c")).await?;
            for node in [&mut *one, &mut *two] {
                node.kill()?;
                node.start_again().await?;
            }
            assert_eq!(one.output(&id, &["echo", "alive"]).await?, "alive", "after both were killed");
            assert_eq!(two.output(&other, &["echo", "alive"]).await?, "alive", "after both were killed");
            two.remove_pods().await?;
            two.stop().await?;
            assert_eq!(one.output(&id, &["echo", "alive"]).await?, "alive", "after the other's end");
            // The other way round: this one has no pods when it ends, the other has.
            two.start_again().await?;
            let (_, other) = two.run_pod(&requests::sandbox(two, "two"), &requests::idle("c")).await?;
            one.remove_pods().await?;
            one.stop().await?;
            assert_eq!(two.output(&other, &["echo", "alive"]).await?, "alive", "after the first one's end");
            two.run_pod(&requests::sandbox(two, "three"), &requests::idle("c")).await?;
            Ok(())
        })
        .await;
        one.start_again().await?;
        one.run_pod(&requests::sandbox(one, "four"), &requests::idle("c")).await?;
        Ok(())
    })
    .await;
}

/// A process in a control group that another program has made below the daemon's own.
struct Squatter {
    process: Child,
    groups: Vec<PathBuf>,
}

impl Drop for Squatter {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A dead process leaves its group a moment after it is reaped.
        let deadline = Instant::now() + DEADLINE;
        while self.groups.iter().any(|group| group.exists() && fs::remove_dir(group).is_err())
            && Instant::now() < deadline
        {
            std::thread::yield_now();
        }
    }
}

impl Squatter {
    fn start(node: &Node) -> Result<Squatter> {
        let process = Command::new("sleep").arg("1000").spawn()?;
        let mut squatter = Squatter { process, groups: Vec::new() };
        let tops = linkspan_tests::leftovers::cgroups(node.cgroup()).into_iter();
        for top in tops.filter(|path| path.ends_with(node.cgroup()) && path.join("monitors").exists()) {
            let group = top.join("7".repeat(64));
            fs::create_dir(&group)?;
            squatter.groups.push(group.clone());
            for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|file| group.join(file).exists()) {
                fs::write(group.join(file), fs::read(top.join(file))?)?;
            }
            fs::write(group.join("cgroup.procs"), squatter.process.id().to_string())?;
        }
        ensure!(!squatter.groups.is_empty(), "the daemon's own group was not found");
        Ok(squatter)
    }
}

#[tokio::test]
async fn a_group_that_is_called_like_a_pod_and_is_not_ours_stays() {
    need!();
    node::run(async |node| {
        let mut squatter = Squatter::start(node)?;
        node.kill()?;
        node.start_again().await?;
        node.stop().await?;
        assert!(squatter.process.try_wait()?.is_none(), "its process was killed");
        assert!(squatter.groups.iter().all(|group| group.exists()), "it was removed");
        node.start_again().await
    })
    .await;
}

#[tokio::test]
async fn a_socket_that_another_server_listens_on_is_neither_replaced_nor_removed() {
    need!();
    node::run(async |node| {
        let path = node.socket();
        // Somebody who takes the path as many servers do: the old socket is removed, whoever's it is.
        fs::remove_file(&path)?;
        let other = UnixListener::bind(&path)?;
        let inode = fs::metadata(&path)?.ino();
        node.stop().await?;
        assert_eq!(fs::metadata(&path)?.ino(), inode, "after our end");
        UnixStream::connect(&path)?;

        let mut daemon = Command::new(tools::daemon());
        daemon.args(["serve", "--prefix"]).arg(node.prefix());
        daemon.arg("--runtime").arg(format!("crun={}", tools::crun().display()));
        let refused = tokio::process::Command::from(daemon).output().await?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("another server answers on it"), "{said}");
        assert_eq!(fs::metadata(&path)?.ino(), inode, "after our start");
        drop(other);
        node.start_again().await?;
        wait::until("our own is there", DEADLINE, async || {
            ensure!(fs::metadata(&path)?.ino() != inode);
            Ok(())
        })
        .await
    })
    .await;
}
