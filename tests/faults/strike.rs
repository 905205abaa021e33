//! The blows: which process is killed, at an instant that nobody chose.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
use linkspan_tests::node::Node;
use tokio::time::Instant;

use crate::processes::{self, Process};
use crate::random::Random;
use crate::weather::Weather;

/// How long a call of a runtime or a plugin is waited for.
const WATCH: Duration = Duration::from_secs(4);
const PACE: Duration = Duration::from_millis(2);
/// Into such a call at most.
const DEEPEST_MS: u64 = 25;
/// Between a daemon's death and the next one's start at most.
const LONGEST_ABSENCE_MS: u64 = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Daemon,
    Monitor,
    RuntimeCall,
    PluginCall,
    DaemonAndMonitor,
}

impl Fault {
    pub(crate) const ALL: [Fault; 5] =
        [Self::Daemon, Self::Monitor, Self::RuntimeCall, Self::PluginCall, Self::DaemonAndMonitor];

    pub(crate) fn named(name: &str) -> Option<Fault> {
        Self::ALL.into_iter().find(|fault| fault.name().ends_with(name))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Daemon => "the daemon",
            Self::Monitor => "a monitor",
            Self::RuntimeCall => "a call of the runtime",
            Self::PluginCall => "a call of a CNI plugin",
            Self::DaemonAndMonitor => "the daemon and a monitor",
        }
    }
}

/// One blow, and what follows from it until the daemon serves again. Gives whom it hit; `None` if there was nobody to be hit.
pub(crate) async fn strike(
    fault: Fault,
    node: &mut Node,
    weather: &Weather,
    random: &mut Random,
) -> Result<Option<String>> {
    match fault {
        Fault::Daemon => {
            weather.begin_blow(None, true);
            node.kill()?;
            come_back(node, weather, random).await?;
            Ok(Some("the daemon".to_owned()))
        }
        Fault::Monitor | Fault::DaemonAndMonitor => {
            let Some((sandbox, monitor)) = a_monitor(node, random).await else { return Ok(None) };
            let with_daemon = fault == Fault::DaemonAndMonitor;
            weather.begin_blow(Some(&sandbox), with_daemon);
            let daemon_first = random.next().is_multiple_of(2);
            if with_daemon && daemon_first {
                node.kill()?;
            }
            processes::kill(&monitor);
            if with_daemon && !daemon_first {
                node.kill()?;
            }
            match with_daemon {
                true => come_back(node, weather, random).await?,
                false => weather.end_blow(),
            }
            Ok(Some(format!("{} of {sandbox}", fault.name())))
        }
        Fault::RuntimeCall | Fault::PluginCall => {
            let daemon = i32::try_from(node.daemon_pid().context("a daemon")?)?;
            let prefix = node.prefix().to_owned();
            let calls = || match fault {
                Fault::RuntimeCall => processes::runtime_calls(&prefix, daemon),
                _ => processes::plugin_calls(daemon),
            };
            in_a_call(calls, weather, random).await
        }
    }
}

async fn come_back(node: &mut Node, weather: &Weather, random: &mut Random) -> Result<()> {
    if random.next().is_multiple_of(2) {
        tokio::time::sleep(Duration::from_millis(random.next() % LONGEST_ABSENCE_MS)).await;
    }
    node.start_again().await.context("the daemon does not come back")?;
    weather.connect(&node.runtime);
    weather.end_blow();
    Ok(())
}

async fn a_monitor(node: &Node, random: &mut Random) -> Option<(String, OwnedFd)> {
    let until = Instant::now() + WATCH;
    while Instant::now() < until {
        let monitors: Vec<_> = processes::monitors(node.prefix()).into_iter().collect();
        if let Some((sandbox, monitor)) = one_of(&monitors, random)
            && let Some(monitor) = monitor.aim()
        {
            return Some((sandbox.clone(), monitor));
        }
        tokio::time::sleep(PACE).await;
    }
    None
}

/// The first that is seen, some way into it.
async fn in_a_call(
    calls: impl Fn() -> Vec<Process>,
    weather: &Weather,
    random: &mut Random,
) -> Result<Option<String>> {
    let until = Instant::now() + WATCH;
    while Instant::now() < until {
        let found = calls();
        if let Some(call) = one_of(&found, random)
            && let Some(target) = call.aim()
        {
            let command = call.command().join(" ");
            if random.next().is_multiple_of(2) {
                tokio::time::sleep(Duration::from_millis(random.next() % DEEPEST_MS)).await;
            }
            if Process::find(call.pid).is_some() {
                weather.begin_blow(None, false);
                let hit = processes::kill(&target);
                weather.end_blow();
                if hit {
                    return Ok(Some(format!("process {}: {command}", call.pid)));
                }
            }
        }
        tokio::time::sleep(PACE).await;
    }
    Ok(None)
}

fn one_of<'t, T>(all: &'t [T], random: &mut Random) -> Option<&'t T> {
    let index = random.next() % u64::try_from(all.len()).ok()?.max(1);
    all.get(usize::try_from(index).ok()?)
}
