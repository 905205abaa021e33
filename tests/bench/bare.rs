//! What a pod costs at the least: CNI ADD and DEL by hand, and the runtime's own `create` + `start` + `delete`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::table::Table;

/// What the bare costs are measured with; a case whose parts are not given is left out.
#[derive(Default)]
pub(crate) struct Bare {
    pub(crate) runtime: Option<PathBuf>,
    /// An unpacked busybox.
    pub(crate) rootfs: Option<PathBuf>,
    pub(crate) cni_conf: Option<PathBuf>,
    pub(crate) cni_bin_dir: Option<PathBuf>,
}

/// The parts of [`Bare`], ready to be measured between the pods: a cgroup write costs a grace period of RCU on a host
/// that has been quiet, so a tight loop of its own would look faster than any pod can be.
pub(crate) struct Ready<'a> {
    bare: &'a Bare,
    bundle: tempfile::TempDir,
    count: usize,
}

impl Bare {
    pub(crate) fn ready(&self) -> Result<Ready<'_>> {
        let ready = Ready { bare: self, bundle: tempfile::tempdir()?, count: 0 };
        if let (Some(runtime), Some(rootfs)) = (&self.runtime, &self.rootfs) {
            ready.call(runtime, &["spec"])?;
            let path = ready.bundle.path().join("config.json");
            let mut spec: Value = serde_json::from_slice(&fs::read(&path)?)?;
            spec["process"]["terminal"] = json!(false);
            spec["process"]["args"] = json!(["/bin/sleep", "3600"]);
            spec["root"]["path"] = json!(rootfs);
            spec["linux"]["cgroupsPath"] = json!(format!("/linkspan-bench-{}", std::process::id()));
            fs::write(&path, spec.to_string())?;
        }
        Ok(ready)
    }
}

impl Ready<'_> {
    /// One sample of each, with the network's only where a pod has one.
    pub(crate) fn sample(&mut self, with_network: bool, table: &mut Table) -> Result<()> {
        self.count += 1;
        let id = format!("linkspan-bench-{}-{}", std::process::id(), self.count);
        if let (true, Some(conf), Some(bin_dir)) = (with_network, &self.bare.cni_conf, &self.bare.cni_bin_dir)
        {
            cni(conf, bin_dir, &id, table)?;
        }
        if let (Some(runtime), Some(_)) = (&self.bare.runtime, &self.bare.rootfs) {
            let begun = Instant::now();
            self.call(runtime, &["create", &id])?;
            self.call(runtime, &["start", &id])?;
            let name = runtime.file_name().unwrap_or_default().to_string_lossy();
            table.sample("bare: runtime create + start", &name, begun.elapsed());
            self.call(runtime, &["delete", "--force", &id])?;
        }
        Ok(())
    }

    fn call(&self, runtime: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(runtime);
        command.args(arguments).current_dir(self.bundle.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(())
    }
}

/// Runs the configuration's plugins by hand, chained as the CNI specification says (SPEC.md, section 3).
fn cni(conf: &Path, bin_dir: &Path, id: &str, table: &mut Table) -> Result<()> {
    let list: Value = serde_json::from_slice(&fs::read(conf)?)?;
    ip(&["netns", "add", id])?;
    let begun = Instant::now();
    let added = chain(&list, bin_dir, "ADD", id);
    table.sample("bare: CNI ADD", "CNI", begun.elapsed());
    let begun = Instant::now();
    let deleted = chain(&list, bin_dir, "DEL", id);
    table.sample("bare: CNI DEL", "CNI", begun.elapsed());
    ip(&["netns", "delete", id])?;
    added.and(deleted)
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(arguments).status().context("running ip")?;
    ensure!(status.success(), "ip {}: {status}", arguments.join(" "));
    Ok(())
}

fn chain(list: &Value, bin_dir: &Path, verb: &str, id: &str) -> Result<()> {
    let mut plugins = list["plugins"].as_array().cloned().context("the configuration has no plugins")?;
    if verb == "DEL" {
        plugins.reverse();
    }
    let mut previous = Value::Null;
    for mut plugin in plugins {
        plugin["name"] = list["name"].clone();
        plugin["cniVersion"] = list["cniVersion"].clone();
        if !previous.is_null() {
            plugin["prevResult"] = previous.clone();
        }
        let binary = bin_dir.join(plugin["type"].as_str().context("a plugin has no type")?);
        let mut child = Command::new(&binary)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", id), ("CNI_IFNAME", "eth0")])
            .env("CNI_NETNS", format!("/var/run/netns/{id}"))
            .env("CNI_PATH", bin_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {}", binary.display()))?;
        child.stdin.take().context("no stdin")?.write_all(plugin.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{} {verb}: {text}", binary.display());
        if verb == "ADD" {
            previous = serde_json::from_str(&text)?;
        }
    }
    Ok(())
}
