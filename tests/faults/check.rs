//! After each round: what the daemon and the kernel show, beside the model; and the model's hopes made facts.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use linkspan_cri_api::v1::ContainerState;
use linkspan_tests::node::Node;
use linkspan_tests::wait;

use crate::churn::Worker;
use crate::foreign::Foreign;
use crate::look::{Name, Seen, look};
use crate::model::{self, Container, Fits, Pod, SeenContainer, SeenPod, Told};
use crate::weather::Weather;

/// For all that goes on in the background, on a loaded machine.
const SETTLE: Duration = Duration::from_secs(20);

/// As [`Node::leftovers`] begins its lines on them.
const ADDRESS: &str = "CNI address: ";

/// What the daemon says when it finds something without a record, which no blow may bring about.
const ORPHANS: [&str; 2] = ["collected what nobody owned", "attachment without a pod is collected"];

/// What is kept from round to round beside the workers' models.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// What was removed; never to be seen again.
    gone: BTreeSet<String>,
    pub(crate) exits_known: usize,
    /// Since everything was removed the last time.
    pub(crate) plugin_killed: bool,
    pub(crate) reservations_lost: usize,
    pub(crate) exits_unknown: usize,
}

impl Checker {
    /// Waits until everything is as it may be, and takes over what came of the calls that were cut off.
    ///
    /// # Errors
    /// What is wrong once everything had the time to settle.
    pub(crate) async fn check(
        &mut self,
        node: &Node,
        weather: &Weather,
        workers: &mut [Worker],
        foreign: &Foreign,
    ) -> Result<()> {
        for pod in workers.iter_mut().flat_map(|worker| &mut worker.pods) {
            pod.monitor_killed |= pod.id.as_ref().is_some_and(|id| weather.has_lost_its_monitor(id));
        }
        // Wrong whenever it is seen.
        let mut at_any_time = BTreeSet::new();
        let settled = wait::until("what is seen is what may be true", SETTLE, async || {
            let seen = look(node, weather).await?;
            at_any_time.extend(self.resurrected(&seen));
            at_any_time.extend(foreign.complaints());
            let mut complaints = complaints(workers, weather, &seen);
            complaints.extend(seen.orphans());
            ensure!(complaints.is_empty(), "\n  {}", complaints.join("\n  "));
            Ok(seen)
        })
        .await;
        ensure!(at_any_time.is_empty(), "\n  {}", Vec::from_iter(at_any_time).join("\n  "));
        let seen = settled?;
        let log = fs::read_to_string(node.prefix().join("daemon.log"))?;
        let collected = log.lines().find(|line| ORPHANS.iter().any(|words| line.contains(words)));
        ensure!(collected.is_none(), "something had no owner: {}", collected.unwrap_or_default());
        for worker in workers {
            self.take_over(worker, weather, &seen);
        }
        Ok(())
    }

    fn resurrected(&self, seen: &Seen) -> Vec<String> {
        let back = seen.ids().into_iter().filter(|id| self.gone.contains(*id));
        back.map(|id| format!("{id} is listed again, and was removed")).collect()
    }

    /// What was uncertain is now known.
    fn take_over(&mut self, worker: &mut Worker, weather: &Weather, seen: &Seen) {
        let pods = std::mem::take(&mut worker.pods);
        for mut pod in pods {
            let found = find_pod(&pod, seen).map(|(id, _)| id.to_owned());
            match (&pod.id, found) {
                (None, None) => pod.attempt += u32::from(worker.chance(50)),
                (Some(id), None) => {
                    let containers = pod.containers.iter().filter_map(|container| container.id.clone());
                    self.gone.extend(containers.chain([id.clone()]));
                    continue;
                }
                (_, Some(id)) => {
                    pod.monitor_killed |= weather.has_lost_its_monitor(&id);
                    pod.id = Some(id);
                }
            }
            let containers = std::mem::take(&mut pod.containers);
            for mut container in containers {
                if self.take_over_container(&pod, &mut container, worker, seen) {
                    pod.containers.push(container);
                }
            }
            worker.pods.push(pod);
        }
    }

    /// `false` if it is gone.
    fn take_over_container(
        &mut self,
        pod: &Pod,
        container: &mut Container,
        worker: &mut Worker,
        seen: &Seen,
    ) -> bool {
        let Some((id, seen)) = find_container(pod, container, seen) else {
            match &container.id {
                Some(id) => self.gone.insert(id.clone()),
                None => {
                    container.attempt += u32::from(worker.chance(50));
                    return true;
                }
            };
            return false;
        };
        container.id = Some(id.to_owned());
        match seen.state {
            ContainerState::ContainerCreated => container.start = Told::NotAsked,
            ContainerState::ContainerRunning => container.start = Told::Done,
            ContainerState::ContainerExited | ContainerState::ContainerUnknown => {}
        }
        if seen.state == ContainerState::ContainerExited && container.exit.is_none() {
            container.exit = Some(seen.exit.clone());
            match model::judge(pod, container, Some(seen)) {
                Ok(Fits::EndHonestlyUnknown) => self.exits_unknown += 1,
                _ => self.exits_known += 1,
            }
        }
        true
    }

    /// Stops and removes all that is listed, twice; nothing may be left.
    pub(crate) async fn remove_all(
        &mut self,
        node: &Node,
        weather: &Weather,
        workers: &mut [Worker],
        foreign: &Foreign,
    ) -> Result<()> {
        let seen = look(node, weather).await?;
        for id in seen.containers.keys().take(2) {
            remove_container(weather, id).await?;
        }
        // Twice: it succeeds also where nothing is left to do.
        for id in seen.pods.keys().chain(seen.pods.keys()) {
            weather.stop_pod(id).await?.must_succeed(&format!("StopPodSandbox of {id}"))?;
            weather.remove_pod(id).await?.must_succeed(&format!("RemovePodSandbox of {id}"))?;
        }
        for id in seen.containers.keys() {
            remove_container(weather, id).await?;
        }
        self.gone.extend(seen.ids().into_iter().map(str::to_owned));
        workers.iter_mut().for_each(|worker| worker.pods.clear());
        if std::mem::take(&mut self.plugin_killed) {
            self.reservations_lost += remove_nameless_reservations(node)?;
        }
        wait::until("nothing is left", SETTLE, async || {
            let now = look(node, weather).await?;
            ensure!(now.ids().is_empty(), "still listed: {:?}", now.ids());
            let mut left = node.leftovers();
            left.retain(|left| !foreign.covers(left));
            left.extend(foreign.complaints());
            for address in left.iter_mut().filter(|left| left.starts_with(ADDRESS)) {
                let held = fs::read_to_string(node.network.reservation(&address[ADDRESS.len()..]));
                *address = format!("{address}, reserved for {held:?}");
            }
            ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
            Ok(())
        })
        .await
    }
}

/// host-local makes a reservation's file and writes the owner's ID into it: if it is killed in between, nobody can ever give the
/// address back.
fn remove_nameless_reservations(node: &Node) -> Result<usize> {
    let paths = node.network.addresses()?.into_iter().map(|address| node.network.reservation(&address));
    let nameless: Vec<_> =
        paths.filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0)).collect();
    nameless.iter().try_for_each(fs::remove_file)?;
    Ok(nameless.len())
}

async fn remove_container(weather: &Weather, id: &str) -> Result<()> {
    weather.remove_container(id).await?.must_succeed(&format!("RemoveContainer of {id}"))
}

fn complaints(workers: &[Worker], weather: &Weather, seen: &Seen) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut known = BTreeSet::new();
    for pod in workers.iter().flat_map(|worker| &worker.pods) {
        let found = find_pod(pod, seen);
        known.extend(found.map(|(id, _)| id));
        let mut judged = pod.clone();
        judged.monitor_killed |= found.is_some_and(|(id, _)| weather.has_lost_its_monitor(id));
        if let Err(complaint) = model::judge_pod(&judged, found.map(|(_, seen)| seen)) {
            let expected = Pod { containers: Vec::new(), ..judged.clone() };
            complaints.push(format!(
                "pod {}: {complaint}\n    model: {expected:?}\n    found: {found:?}",
                pod.name
            ));
        }
        for container in &pod.containers {
            let found = find_container(pod, container, seen);
            known.extend(found.map(|(id, _)| id));
            if let Err(complaint) = model::judge(&judged, container, found.map(|(_, seen)| seen)) {
                let of_pod = Pod { containers: Vec::new(), ..judged.clone() };
                complaints.push(format!(
                    "container {} of pod {}: {complaint}\n    model: {container:?} in {of_pod:?}\n    found: {found:?}",
                    container.name, pod.name
                ));
            }
        }
    }
    let strangers = seen.ids().into_iter().filter(|id| !known.contains(id));
    complaints
        .extend(strangers.map(|id| format!("{id} is listed, and nobody asked for it, or it is there twice")));
    complaints
}

fn find_pod<'s>(pod: &Pod, seen: &'s Seen) -> Option<(&'s str, &'s SeenPod)> {
    let name = Name { sandbox: None, name: pod.name.clone(), attempt: pod.attempt };
    let mut found = seen.pods.iter().filter(|(id, (its, _))| match &pod.id {
        Some(own) => own == *id,
        None => *its == name,
    });
    found.next().map(|(id, (_, pod))| (id.as_str(), pod))
}

fn find_container<'s>(
    pod: &Pod,
    container: &Container,
    seen: &'s Seen,
) -> Option<(&'s str, &'s SeenContainer)> {
    let name = Name { sandbox: pod.id.clone(), name: container.name.clone(), attempt: container.attempt };
    let mut found = seen.containers.iter().filter(|(id, (its, _))| match &container.id {
        Some(own) => own == *id,
        None => *its == name,
    });
    found.next().map(|(id, (_, container))| (id.as_str(), container))
}
