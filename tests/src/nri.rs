//! Plugins for NRI: the tests' own one (`tests/fixtures/nri`), on the official stub, with a script of what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::node::Node;
use crate::{tools, wait};

const DEADLINE: Duration = Duration::from_secs(20);

/// A plugin that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Plugin {
    child: Child,
    log: PathBuf,
}

/// The socket of a node's daemon for plugins.
pub fn socket(node: &Node) -> PathBuf {
    node.prefix().join("var/run/nri/nri.sock")
}

impl Plugin {
    /// A plugin that takes part in what happens on the node.
    pub async fn start(node: &Node, index: &str, name: &str, script: &Value) -> Result<Plugin> {
        let plugin = Plugin::spawn(node, index, name, script, &[])?;
        plugin.event("Synchronize", |_| true).await?;
        Ok(plugin)
    }

    /// `flags`: `-raw` for one that evicts, `-reconnect` for one that comes back after the daemon.
    pub fn spawn(node: &Node, index: &str, name: &str, script: &Value, flags: &[&str]) -> Result<Plugin> {
        let folder = node.prefix().join("plugins");
        fs::create_dir_all(&folder)?;
        let (log, path) = (folder.join(format!("{name}.log")), folder.join(format!("{name}.json")));
        fs::write(&path, script.to_string())?;
        let words = fs::File::create(folder.join(format!("{name}.err")))?;
        let child = Command::new(tools::nri_plugin())
            .arg("-socket")
            .arg(socket(node))
            .args(["-idx", index, "-name", name])
            .arg("-log")
            .arg(&log)
            .arg("-script")
            .arg(&path)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words)
            .spawn()?;
        Ok(Plugin { child, log })
    }

    /// All that it has heard until now.
    pub fn events(&self) -> Result<Vec<Value>> {
        events(&self.log)
    }

    /// What it has heard until now, by name.
    pub fn names(&self) -> Result<Vec<String>> {
        Ok(self
            .events()?
            .iter()
            .map(|event| event["event"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    /// The first event of this name that fits, waited for.
    pub async fn event(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        event(&self.log, name, fits).await
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<()> {
        wait::until("the plugin ends", DEADLINE, async || {
            self.child.try_wait()?.context("it still runs").map(drop)
        })
        .await
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a plugin has written into its log.
pub fn events(log: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// The first event of this name that fits, waited for.
pub async fn event(log: &Path, name: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    wait::until(&format!("the plugin hears of {name}"), DEADLINE, async || {
        let found = events(log)?.into_iter().find(|event| event["event"] == name && fits(event));
        let heard = || format!("it heard of {:?}", events(log).map(|events| events.len()));
        ensure!(found.is_some(), heard());
        found.context("just found")
    })
    .await
}
