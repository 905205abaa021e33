//! A pod of another engine on the node's CNI network: attached by the same plugins and configuration, noted in the same cache.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use linkspan_tests::node::Node;
use linkspan_tests::{tools, wait};
use serde_json::{Value, json};

/// Detached and gone when dropped.
pub(super) struct Foreign {
    /// As containerd gives them.
    pub(super) id: String,
    pub(super) address: String,
    /// It holds the network namespace.
    process: Child,
    config: Value,
    entry: PathBuf,
    noted: Vec<u8>,
}

impl Foreign {
    /// ADD with the list's bridge, and an entry as libcni writes it.
    pub(super) async fn attach(node: &Node) -> Result<Foreign> {
        let path = node.prefix().join("etc/cni/net.d/10-test.conflist");
        let list: Value = serde_json::from_slice(&fs::read(&path)?)?;
        let plugins = list["plugins"].as_array().context("plugins")?;
        let mut config =
            plugins.iter().find(|plugin| plugin["type"] == "bridge").context("a bridge")?.clone();
        config["name"] = list["name"].clone();
        config["cniVersion"] = list["cniVersion"].clone();
        let name = list["name"].as_str().context("a name")?;

        let process = Command::new("unshare").args(["--net", "sleep", "1000"]).spawn()?;
        let id = "c".repeat(64);
        let entry = node.prefix().join("var/lib/cni/results").join(format!("{name}-{id}-eth0"));
        let mut foreign = Foreign { id, address: String::new(), process, config, entry, noted: Vec::new() };
        let (host, own) = (PathBuf::from("/proc/self/ns/net"), foreign.netns());
        wait::until("a network namespace", Duration::from_secs(10), async || {
            ensure!(fs::read_link(&own)? != fs::read_link(&host)?, "it is the host's still");
            Ok(())
        })
        .await?;
        let result: Value = serde_json::from_slice(&foreign.plugin("ADD")?)?;
        let address = result["ips"][0]["address"].as_str().context("an address")?;
        foreign.address = address.split('/').next().unwrap_or_default().to_owned();
        let noted = json!({
            "kind": "cniCacheV1", "containerId": foreign.id, "config": STANDARD.encode(list.to_string()),
            "ifName": "eth0", "networkName": name, "netns": foreign.netns(), "result": result,
        });
        foreign.noted = serde_json::to_vec(&noted)?;
        fs::create_dir_all(foreign.entry.parent().context("a folder")?)?;
        fs::write(&foreign.entry, &foreign.noted)?;
        Ok(foreign)
    }

    fn netns(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.process.id()).into()
    }

    fn plugin(&self, verb: &str) -> Result<Vec<u8>> {
        let mut plugin = Command::new(tools::cni_plugins().join("bridge"))
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", &self.id)
            .env("CNI_NETNS", self.netns())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", tools::cni_plugins())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        plugin.stdin.take().context("its input")?.write_all(self.config.to_string().as_bytes())?;
        let output = plugin.wait_with_output()?;
        ensure!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stdout));
        Ok(output.stdout)
    }

    /// The host reaches it, its address is still its own, and its entry is as it was written.
    pub(super) fn is_whole(&self, node: &Node, when: &str) -> Result<()> {
        let ping = Command::new(tools::busybox())
            .args(["ping", "-c", "1", "-W", "5", &self.address])
            .output()
            .context("ping")?;
        ensure!(ping.status.success(), "{when}: {} is not reached", self.address);
        ensure!(node.network.addresses()?.contains(&self.address), "{when}: its address was given back");
        let noted = fs::read(&self.entry).with_context(|| format!("{when}: its entry is gone"))?;
        ensure!(noted == self.noted, "{when}: its entry was changed");
        Ok(())
    }

    /// As its engine does at its end.
    pub(super) fn detach(&self) -> Result<()> {
        self.plugin("DEL")?;
        fs::remove_file(&self.entry)?;
        Ok(())
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        // Done already, most likely; a failed test leaves nothing behind either.
        let _ = self.plugin("DEL");
        let _ = fs::remove_file(&self.entry);
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
