//! The verbs on a whole list of plugins.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::super::Error;
use super::conf::{NetworkList, PluginConf};
use super::gc::Valid;
use super::plugin::{Call, Plugins, Subject, Verb};
use super::result;
use super::version::{Version, negotiate};

/// The verbs of one list of plugins with one deadline for all of them.
#[derive(Debug)]
pub(crate) struct Chain<'a> {
    plugins: &'a Plugins,
    list: &'a NetworkList,
    started: Instant,
    deadline: Instant,
}

impl<'a> Chain<'a> {
    /// The clock runs from now.
    pub(crate) fn new(plugins: &'a Plugins, list: &'a NetworkList, budget: Duration) -> Self {
        let started = Instant::now();
        Self { plugins, list, started, deadline: started + budget }
    }

    /// ADD in order, each plugin with the result of the one before; the last result.
    pub(crate) async fn add(
        &self,
        subject: &Subject,
        arguments: &Map<String, Value>,
    ) -> Result<Map<String, Value>, Error> {
        let mut previous: Option<Map<String, Value>> = None;
        for plugin in &self.list.plugins {
            let config = self.config(plugin, arguments, previous.as_ref());
            let output = self.run(Verb::Add, plugin, subject, &config).await?;
            previous = Some(self.parse_result(plugin, &output)?);
        }
        Ok(previous.unwrap_or_default())
    }

    /// DEL in reverse order with the result of ADD, if it is known. All plugins are run, whatever
    /// one of them says; the first error is returned.
    pub(crate) async fn del(
        &self,
        subject: &Subject,
        arguments: &Map<String, Value>,
        result: Option<&Map<String, Value>>,
    ) -> Result<(), Error> {
        let previous = result.filter(|_| self.list.version.has_check());
        let mut outcome = Ok(());
        for plugin in self.list.plugins.iter().rev() {
            let config = self.config(plugin, arguments, previous);
            let done = self.run(Verb::Del, plugin, subject, &config).await;
            outcome = outcome.and(done.map(|_| ()));
        }
        outcome
    }

    /// CHECK in order; nothing before CNI 0.4.0 or if the list forbids it.
    pub(crate) async fn check(
        &self,
        subject: &Subject,
        arguments: &Map<String, Value>,
        result: &Map<String, Value>,
    ) -> Result<(), Error> {
        if !self.list.version.has_check() || self.list.disable_check {
            return Ok(());
        }
        for plugin in &self.list.plugins {
            let config = self.config(plugin, arguments, Some(result));
            self.run(Verb::Check, plugin, subject, &config).await?;
        }
        Ok(())
    }

    /// GC: all attachments but `valid` may go. Nothing before CNI 1.1 or if the list forbids it. All plugins are run; the
    /// first error is returned.
    pub(crate) async fn gc(&self, valid: &[Valid]) -> Result<(), Error> {
        if !self.list.has_gc() {
            return Ok(());
        }
        let valid: Vec<Value> = valid
            .iter()
            .map(|one| json!({ "containerID": one.container_id, "ifname": one.if_name }))
            .collect();
        let mut outcome = Ok(());
        for plugin in &self.list.plugins {
            let mut config = self.config(plugin, &Map::new(), None);
            config.insert("cni.dev/valid-attachments".to_owned(), Value::Array(valid.clone()));
            let done = self.run(Verb::Gc, plugin, &Subject::default(), &config).await;
            outcome = outcome.and(done.map(|_| ()));
        }
        outcome
    }

    /// STATUS in order; nothing before CNI 1.1.
    pub(crate) async fn status(&self) -> Result<(), Error> {
        for plugin in &self.list.plugins {
            // The binaries must be there in any version.
            self.plugins.find(&plugin.kind)?;
            if self.list.version.has_gc_and_status() {
                let config = self.config(plugin, &Map::new(), None);
                self.run(Verb::Status, plugin, &Subject::default(), &config).await?;
            }
        }
        Ok(())
    }

    /// The newest version that the list names and every plugin speaks; asks the plugins only if
    /// the list leaves a choice.
    pub(crate) async fn negotiate(&self) -> Result<Version, Error> {
        let [_, _, ..] = self.list.versions[..] else { return Ok(self.list.version) };
        let config = Map::from_iter([("cniVersion".to_owned(), Version::CURRENT.as_str().into())]);
        let mut spoken = Vec::new();
        for plugin in &self.list.plugins {
            let output = self.run(Verb::Version, plugin, &Subject::default(), &config).await?;
            let answer: Value = serde_json::from_slice(&output).unwrap_or_default();
            let versions = answer["supportedVersions"].as_array().map(Vec::as_slice).unwrap_or_default();
            spoken.push(versions.iter().filter_map(|v| v.as_str()?.parse().ok()).collect());
        }
        negotiate(&self.list.versions, &spoken).ok_or_else(|| Error::BadConfig {
            path: self.list.source.clone(),
            message: format!("the plugins speak none of the versions {:?} together", self.list.versions),
        })
    }

    async fn run(
        &self,
        verb: Verb,
        plugin: &PluginConf,
        subject: &Subject,
        config: &Map<String, Value>,
    ) -> Result<Vec<u8>, Error> {
        let call = self.call(verb, plugin, subject, config);
        let begun = Instant::now();
        let result = self.plugins.run(&call).await;
        tracing::debug!(
            network = self.list.name,
            plugin = plugin.kind,
            verb = verb.name(),
            container_id = subject.container_id,
            milliseconds = begun.elapsed().as_millis(),
            ok = result.is_ok(),
            "cni plugin ended"
        );
        result
    }

    fn call<'b>(
        &'b self,
        verb: Verb,
        plugin: &'b PluginConf,
        subject: &'b Subject,
        config: &'b Map<String, Value>,
    ) -> Call<'b> {
        Call {
            verb,
            network: &self.list.name,
            plugin: &plugin.kind,
            subject,
            config,
            started: self.started,
            deadline: self.deadline,
        }
    }

    /// The configuration for one run (CNI specification, "Deriving execution configuration").
    fn config(
        &self,
        plugin: &PluginConf,
        arguments: &Map<String, Value>,
        previous: Option<&Map<String, Value>>,
    ) -> Map<String, Value> {
        let mut config = plugin.config.clone();
        config.insert("name".to_owned(), self.list.name.clone().into());
        config.insert("cniVersion".to_owned(), self.list.version.as_str().into());
        let wanted: Map<String, Value> = arguments
            .iter()
            .filter(|(name, _)| plugin.capabilities.contains(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !wanted.is_empty() {
            config.insert("runtimeConfig".to_owned(), Value::Object(wanted));
        }
        if let Some(previous) = previous {
            config.insert("prevResult".to_owned(), Value::Object(previous.clone()));
        }
        config
    }

    /// The result in the list's version.
    fn parse_result(&self, plugin: &PluginConf, output: &[u8]) -> Result<Map<String, Value>, Error> {
        let (subject, config) = (Subject::default(), Map::new());
        let bad = |message: String| self.call(Verb::Add, plugin, &subject, &config).failed(0, message);
        result::parse(output, self.list.version).map_err(bad)
    }
}

/// The path to hand to a plugin: empty if no network namespace is there any more.
pub(crate) fn live_netns(netns: &Path) -> String {
    /// linux/magic.h, `NSFS_MAGIC` and `PROC_SUPER_MAGIC`.
    const MAGIC: [u64; 2] = [0x6e73_6673, 0x9fa0];
    match rustix::fs::statfs(netns) {
        Ok(stat) if MAGIC.contains(&(stat.f_type as u64)) => netns.to_string_lossy().into_owned(),
        _ => String::new(),
    }
}
