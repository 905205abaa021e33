//! What others have on the node, beside and amid what is the daemon's own. It is to stand whatever happens.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use linkspan_tests::leftovers;
use linkspan_tests::node::Node;
use serde_json::json;

/// The ID of a pod of another engine.
pub(crate) fn id() -> String {
    "f".repeat(64)
}

/// Another engine's pod and the administrator's files.
pub(crate) struct Foreign {
    /// Each with what was written there.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// A network namespace.
    pin: PathBuf,
    groups: Vec<PathBuf>,
}

impl Foreign {
    pub(crate) fn place(node: &Node) -> Result<Foreign> {
        let (id, prefix) = (id(), node.prefix());
        let pin = prefix.join("run/netns/foreign");
        let configuration = prefix.join("etc/cni/net.d/10-test.conflist");
        let list: serde_json::Value = serde_json::from_slice(&fs::read(&configuration)?)?;
        let network = list["name"].as_str().context("the network's name")?;
        // As libcni writes it.
        let entry = json!({
            "kind": "cniCacheV1", "containerId": id, "config": STANDARD.encode(list.to_string()),
            "ifName": "eth0", "networkName": network, "netns": pin, "result": { "cniVersion": "1.0.0" },
        });
        let cni = prefix.join("var/lib/cni");
        let pods = prefix.join("run/linkspan/pods");
        let files = vec![
            (cni.join("results").join(format!("{network}-{id}-eth0")), entry.to_string().into_bytes()),
            // As host-local does; it passes over what is taken.
            (node.network.reservation(&address(node)), format!("{id}\r\neth0").into_bytes()),
            (pods.join("foreign"), b"of the administrator".to_vec()),
            (pods.join("foreign.d/file"), b"of the administrator".to_vec()),
        ];
        for (path, content) in &files {
            let folder = path.parent().context("a folder")?;
            fs::create_dir_all(folder)?;
            fs::write(path, content).with_context(|| path.display().to_string())?;
        }
        fs::create_dir_all(pin.parent().context("a folder")?)?;
        fs::write(&pin, "")?;
        let made = Command::new("unshare").arg(format!("--net={}", pin.display())).arg("true").status()?;
        ensure!(made.success(), "no network namespace could be pinned");
        let groups = beside(node)?;
        for group in &groups {
            fs::create_dir(group).with_context(|| group.display().to_string())?;
        }
        Ok(Foreign { files, pin, groups })
    }

    /// What was touched.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (path, content) in &self.files {
            if fs::read(path).ok().as_ref() != Some(content) {
                complaints.push(format!("foreign file {} is gone or changed", path.display()));
            }
        }
        if leftovers::mounts(&self.pin).is_empty() {
            complaints.push("the foreign network namespace is not pinned any more".to_owned());
        }
        let gone = self.groups.iter().filter(|group| !group.is_dir());
        complaints.extend(gone.map(|group| format!("foreign control group {} is gone", group.display())));
        complaints
    }

    /// Whether something left over is one of these.
    pub(crate) fn covers(&self, left: &str) -> bool {
        left.contains(&id()) || left.contains(&*self.pin.to_string_lossy()) || self.has_address(left)
    }

    fn has_address(&self, left: &str) -> bool {
        let names = self.files.iter().filter_map(|(path, _)| path.file_name());
        left.strip_prefix("CNI address: ")
            .is_some_and(|address| names.into_iter().any(|name| name == address))
    }

    pub(crate) fn remove(self) -> Result<()> {
        for (path, _) in &self.files {
            fs::remove_file(path).with_context(|| path.display().to_string())?;
        }
        let unmounted = Command::new("umount").arg(&self.pin).status()?;
        ensure!(unmounted.success(), "{} could not be unmounted", self.pin.display());
        self.groups.iter().try_for_each(|group| Ok(fs::remove_dir(group)?))
    }
}

/// Of the pods' subnet, its last.
fn address(node: &Node) -> String {
    let [a, b, c, _] = node.network.gateway().octets();
    format!("{a}.{b}.{c}.254")
}

/// Places for groups beside the daemon's own, in every hierarchy where it has one.
fn beside(node: &Node) -> Result<Vec<PathBuf>> {
    let name = node.cgroup();
    let tops = leftovers::cgroups(name).into_iter().filter(|group| group.ends_with(name));
    tops.map(|top| Ok(top.parent().context("a hierarchy")?.join(Path::new(&format!("{name}-foreign")))))
        .collect()
}
