//! The named crash points of daemon and monitor (`runtime-oci/monitor/src/crash_points.txt`), each once: a pod's life from its making
//! to its removal, in which the process ends at the point; then everything must be as after any other blow.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_tests::node::Node;
use linkspan_tests::wait;

use crate::check::Checker;
use crate::churn::Worker;
use crate::foreign::Foreign;
use crate::model::Told;
use crate::processes;
use crate::random::Random;
use crate::weather::Weather;

const NAMES: &str = include_str!("../../runtime-oci/monitor/src/crash_points.txt");
const VARIABLE: &str = "LINKSPAN_CRASH_POINT";
const OF_MONITOR: &str = "monitor-";
/// From these on an exit is on the disk: it is known, though the monitor is dead.
const EXIT_IS_RECORDED: [&str; 2] = ["monitor-after-exit-record", "monitor-exit-told"];
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.lines().filter(|line| !line.is_empty())
}

/// What a walk to a point is made with.
pub(crate) struct Points<'h> {
    pub(crate) weather: &'h Weather,
    pub(crate) workers: &'h mut [Worker],
    pub(crate) checker: &'h mut Checker,
    pub(crate) foreign: &'h Foreign,
}

impl Points<'_> {
    /// # Errors
    /// If the point is not reached, or something is wrong after it.
    pub(crate) async fn walk_to(&mut self, node: &mut Node, name: &'static str, seed: u64) -> Result<()> {
        let of_daemon = !name.starts_with(OF_MONITOR);
        node.kill()?;
        node.set_environment(vec![(VARIABLE, name)]);
        node.start_again().await?;
        self.weather.connect(&node.runtime);
        self.weather.begin_blow(None, of_daemon);
        let worker = self.workers.first_mut().context("a worker")?;
        worker.random = Random(seed);
        let whole = worker.walk(self.weather).await?;
        if of_daemon {
            wait::until(&format!("the daemon comes to {name}"), SOON, async || node.has_ended()).await?;
        } else {
            self.bury_monitors(node.prefix(), whole, name)?;
            self.weather.end_blow();
            self.check(node).await.context("under the same daemon")?;
            self.weather.begin_blow(None, true);
        }
        let unknown = self.checker.exits_unknown;
        node.kill()?;
        node.set_environment(Vec::new());
        node.start_again().await.context("the daemon does not come back")?;
        self.weather.connect(&node.runtime);
        self.weather.end_blow();
        self.check(node).await?;
        let known = self.checker.exits_unknown == unknown || !EXIT_IS_RECORDED.contains(&name);
        ensure!(known, "an exit that was recorded is said to be unknown");
        let worker = self.workers.first_mut().context("a worker")?;
        worker.ask_again(self.weather).await.context("asking again for what was cut off")?;
        self.checker.remove_all(node, self.weather, self.workers, self.foreign).await
    }

    async fn check(&mut self, node: &Node) -> Result<()> {
        self.checker.check(node, self.weather, self.workers, self.foreign).await
    }

    /// Nothing else of the walk fails, so a call that did tells that the monitor is dead.
    fn bury_monitors(&self, prefix: &Path, whole: bool, name: &str) -> Result<()> {
        let alive = processes::monitors(prefix);
        let pods = self.workers.iter().flat_map(|worker| &worker.pods);
        let lost: Vec<&str> = pods
            .filter(|pod| pod.stop != Told::Done)
            .filter_map(|pod| pod.id.as_deref())
            .filter(|id| !alive.contains_key(*id))
            .collect();
        ensure!(!whole || !lost.is_empty(), "no monitor comes to {name}");
        lost.into_iter().for_each(|id| self.weather.lose_monitor(id));
        Ok(())
    }
}
