//! The churn: each worker makes, uses, stops and removes pods of its own, and notes in the model what it asked and was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::{requests, wait};
use tonic::Status;

use crate::model::{Container, Ends, Pod, Told};
use crate::random::Random;
use crate::weather::{Answered, Weather};

/// Of one worker at a time.
const MOST_PODS: usize = 2;
const MOST_CONTAINERS: usize = 2;
/// How long a container that ends by itself lives at most.
const LONGEST_LIFE_MS: u64 = 400;
const EXEC_CODE: i32 = 3;
const ENDS: Duration = Duration::from_secs(10);

/// Calls by RPC: answered OK, and by an error or not at all.
pub(crate) type Calls = BTreeMap<&'static str, (usize, usize)>;

/// Makes pods and keeps what it knows of them from round to round.
pub(crate) struct Worker {
    number: usize,
    pub(crate) random: Random,
    pub(crate) pods: Vec<Pod>,
    pods_made: u32,
    pub(crate) calls: Calls,
    /// As [`requests::sandbox`] makes it; the name is filled in.
    template: v1::PodSandboxConfig,
}

impl Worker {
    pub(crate) fn new(number: usize, template: v1::PodSandboxConfig) -> Worker {
        Worker { number, random: Random(0), pods: Vec::new(), pods_made: 0, calls: Calls::new(), template }
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// One step after the other until the round is over. Hands itself back with the first thing that cannot be.
    pub(crate) async fn churn(mut self, weather: Arc<Weather>) -> (Worker, Result<()>) {
        let mut outcome = Ok(());
        while outcome.is_ok() && weather.goes_on().await {
            outcome = self.step(&weather).await;
        }
        (self, outcome)
    }

    /// One pod's whole life, or the part of it that comes to be; whether it was whole.
    pub(crate) async fn walk(&mut self, weather: &Weather) -> Result<bool> {
        let mut pod = self.new_pod(false);
        let outcome = self.walk_pod(weather, &mut pod).await;
        self.pods.push(pod);
        outcome
    }

    async fn walk_pod(&mut self, weather: &Weather, pod: &mut Pod) -> Result<bool> {
        self.ask_for_pod(weather, pod).await?;
        if pod.id.is_none() {
            return Ok(false);
        }
        for ends in [Ends::ByItself(7), Ends::WhenStopped(9)] {
            let mut container = self.new_container(ends);
            let outcome = self.walk_container(weather, pod, &mut container).await;
            pod.containers.push(container);
            if !outcome? {
                return Ok(false);
            }
        }
        self.stop_pod(weather, pod).await?;
        if pod.stop == Told::Done {
            self.remove_pod(weather, pod).await?;
        }
        Ok(pod.remove == Told::Done)
    }

    async fn walk_container(
        &mut self,
        weather: &Weather,
        pod: &Pod,
        container: &mut Container,
    ) -> Result<bool> {
        self.ask_for_container(weather, pod, container).await?;
        let Some(id) = container.id.clone() else { return Ok(false) };
        self.start(weather, pod, container).await?;
        if container.start != Told::Done {
            return Ok(false);
        }
        match container.ends {
            Ends::ByItself(_) => Ok(ended(weather, &id).await?),
            Ends::WhenStopped(_) => {
                self.exec(weather, pod, container).await?;
                self.stop(weather, container).await?;
                if container.stop == Told::Done {
                    self.remove(weather, container).await?;
                }
                Ok(container.remove == Told::Done)
            }
        }
    }

    /// What was cut off can be had, under the same name or the next.
    pub(crate) async fn ask_again(&mut self, weather: &Weather) -> Result<()> {
        let mut pods = std::mem::take(&mut self.pods);
        for pod in &mut pods {
            if pod.id.is_none() {
                self.ask_for_pod(weather, pod).await?;
            }
            let mut containers = std::mem::take(&mut pod.containers);
            for container in containers.iter_mut().filter(|container| container.id.is_none()) {
                self.ask_for_container(weather, pod, container).await?;
            }
            pod.containers = containers;
        }
        self.pods = pods;
        Ok(())
    }

    async fn step(&mut self, weather: &Weather) -> Result<()> {
        for pod in &mut self.pods {
            pod.monitor_killed |= pod.id.as_ref().is_some_and(|id| weather.has_lost_its_monitor(id));
        }
        let live = self.pods.iter().filter(|pod| pod.remove != Told::Done).count();
        if live == 0 || (live < MOST_PODS && self.chance(10)) {
            return self.run_pod(weather).await;
        }
        let nth = self.below(live as u64) as usize;
        let found = self.pods.iter().enumerate().filter(|(_, pod)| pod.remove != Told::Done).nth(nth);
        let index = found.context("a pod")?.0;
        // Its worker is its only owner; so it can be lent.
        let mut pod = self.pods.swap_remove(index);
        let outcome = self.use_pod(weather, &mut pod).await;
        self.pods.push(pod);
        outcome
    }

    async fn use_pod(&mut self, weather: &Weather, pod: &mut Pod) -> Result<()> {
        let roll = self.below(100);
        if pod.id.is_none() {
            // Either it is asked for again at once, or a look will tell what came of it.
            return if roll < 50 {
                self.ask_for_pod(weather, pod).await
            } else {
                self.run_pod(weather).await
            };
        }
        if pod.remove.asked() || (pod.is_to_end() && roll < 70) || (!pod.is_usable() && roll < 30) {
            return self.remove_pod(weather, pod).await;
        }
        if !pod.is_usable() {
            return self.stop_pod(weather, pod).await;
        }
        let containers = pod.containers.iter().filter(|container| container.remove != Told::Done).count();
        match roll {
            0..6 => self.stop_pod(weather, pod).await,
            6..10 => self.remove_pod(weather, pod).await,
            _ if containers == 0 || (containers < MOST_CONTAINERS && roll < 35) => {
                self.create(weather, pod).await
            }
            _ => {
                let nth = self.below(containers as u64) as usize;
                let live =
                    pod.containers.iter().enumerate().filter(|(_, container)| container.remove != Told::Done);
                let index = live.map(|(index, _)| index).nth(nth).context("a container")?;
                let mut container = pod.containers.swap_remove(index);
                let outcome = self.use_container(weather, pod, &mut container).await;
                pod.containers.push(container);
                outcome
            }
        }
    }

    async fn use_container(&mut self, weather: &Weather, pod: &Pod, container: &mut Container) -> Result<()> {
        let roll = self.below(100);
        if container.id.is_none() {
            return self.ask_for_container(weather, pod, container).await;
        }
        match (container.start, container.is_to_end()) {
            (Told::NotAsked, false) if container.exit.is_none() && roll < 85 => {
                self.start(weather, pod, container).await
            }
            (Told::Done, false) if matches!(container.ends, Ends::WhenStopped(_)) && roll < 60 => {
                self.exec(weather, pod, container).await
            }
            (Told::NotAsked | Told::Done, false) if roll < 75 => self.stop(weather, container).await,
            _ => self.remove(weather, container).await,
        }
    }

    async fn run_pod(&mut self, weather: &Weather) -> Result<()> {
        let host_network = self.chance(35);
        let mut pod = self.new_pod(host_network);
        let outcome = self.ask_for_pod(weather, &mut pod).await;
        self.pods.push(pod);
        outcome
    }

    fn new_pod(&mut self, host_network: bool) -> Pod {
        self.pods_made += 1;
        Pod {
            id: None,
            name: format!("w{}-{}", self.number, self.pods_made),
            attempt: 0,
            host_network,
            stop: Told::NotAsked,
            remove: Told::NotAsked,
            monitor_killed: false,
            containers: Vec::new(),
        }
    }

    fn new_container(&mut self, ends: Ends) -> Container {
        Container {
            id: None,
            name: format!("c{}", self.below(1 << 32)),
            attempt: 0,
            ends,
            life_ms: self.below(LONGEST_LIFE_MS),
            start: Told::NotAsked,
            stop: Told::NotAsked,
            remove: Told::NotAsked,
            exit: None,
        }
    }

    /// Its first time, or again: the metadata must not be taken by what did not come to be.
    async fn ask_for_pod(&mut self, weather: &Weather, pod: &mut Pod) -> Result<()> {
        let config = Some(self.config(pod));
        let answered = weather
            .call("RunPodSandbox", async |mut runtime| {
                let request = v1::RunPodSandboxRequest { config, ..Default::default() };
                runtime.run_pod_sandbox(request).await
            })
            .await?;
        self.count("RunPodSandbox", &answered);
        // One that had come to be, and lost its monitor, has its name until it is removed.
        let is_taken = |status: &Status| weather.names_one_without_monitor(status.message());
        if !answered.result.as_ref().is_err_and(is_taken) {
            answered.must_succeed(&format!("RunPodSandbox of {} attempt {}", pod.name, pod.attempt))?;
        }
        pod.id = answered.result.ok().map(|answer| answer.pod_sandbox_id);
        Ok(())
    }

    async fn create(&mut self, weather: &Weather, pod: &mut Pod) -> Result<()> {
        let code = self.below(120) as i32;
        let ends = if self.chance(50) { Ends::ByItself(code) } else { Ends::WhenStopped(code) };
        let mut container = self.new_container(ends);
        let outcome = self.ask_for_container(weather, pod, &mut container).await;
        pod.containers.push(container);
        outcome
    }

    async fn ask_for_container(
        &mut self,
        weather: &Weather,
        pod: &Pod,
        container: &mut Container,
    ) -> Result<()> {
        let line = match container.ends {
            Ends::ByItself(code) => format!("usleep {}; exit {code}", container.life_ms * 1000),
            Ends::WhenStopped(code) => {
                format!("trap 'exit {code}' TERM; while :; do sleep 1000 & wait; done")
            }
        };
        let mut config = requests::container(&container.name, &["sh", "-c", &line]);
        config.metadata.get_or_insert_default().attempt = container.attempt;
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone().unwrap_or_default(),
            config: Some(config),
            sandbox_config: Some(self.config(pod)),
        };
        let answered = weather
            .call("CreateContainer", async |mut runtime| runtime.create_container(request).await)
            .await?;
        self.count("CreateContainer", &answered);
        if self.is_usable(weather, pod) {
            answered.must_succeed(&format!("CreateContainer of {} in {:?}", container.name, pod.id))?;
        }
        container.id = answered.result.ok().map(|answer| answer.container_id);
        Ok(())
    }

    async fn start(&mut self, weather: &Weather, pod: &Pod, container: &mut Container) -> Result<()> {
        let id = container.id.clone().context("an ID")?;
        let answered = weather
            .call("StartContainer", async |mut runtime| {
                let container_id = id.clone();
                runtime.start_container(v1::StartContainerRequest { container_id }).await
            })
            .await?;
        self.count("StartContainer", &answered);
        container.start = container.start.max(answered.told());
        if self.is_usable(weather, pod) {
            answered.must_succeed(&format!("StartContainer of {id}"))?;
        }
        Ok(())
    }

    async fn exec(&mut self, weather: &Weather, pod: &Pod, container: &Container) -> Result<()> {
        let id = container.id.clone().context("an ID")?;
        let answered = weather
            .call("ExecSync", async |mut runtime| {
                let cmd = ["sh", "-c", &format!("echo hello; exit {EXEC_CODE}")].map(str::to_owned).to_vec();
                runtime.exec_sync(v1::ExecSyncRequest { container_id: id.clone(), cmd, timeout: 20 }).await
            })
            .await?;
        self.count("ExecSync", &answered);
        if !self.is_usable(weather, pod) {
            return Ok(());
        }
        answered.must_succeed(&format!("ExecSync in {id}"))?;
        if let Ok(said) = &answered.result
            && !answered.disturbed
        {
            let right = said.stdout == b"hello\n" && said.exit_code == EXEC_CODE;
            ensure!(right, "ExecSync in {id}: {said:?}");
        }
        Ok(())
    }

    async fn stop(&mut self, weather: &Weather, container: &mut Container) -> Result<()> {
        let id = container.id.clone().context("an ID")?;
        let timeout = self.below(2) as i64;
        let answered = weather
            .call("StopContainer", async |mut runtime| {
                runtime.stop_container(v1::StopContainerRequest { container_id: id.clone(), timeout }).await
            })
            .await?;
        self.count("StopContainer", &answered);
        container.stop = container.stop.max(answered.told());
        answered.must_succeed(&format!("StopContainer of {id}"))
    }

    async fn remove(&mut self, weather: &Weather, container: &mut Container) -> Result<()> {
        let id = container.id.clone().context("an ID")?;
        for _ in 0..self.times() {
            let answered = weather.remove_container(&id).await?;
            self.count("RemoveContainer", &answered);
            container.remove = container.remove.max(answered.told());
            answered.must_succeed(&format!("RemoveContainer of {id}"))?;
        }
        Ok(())
    }

    async fn stop_pod(&mut self, weather: &Weather, pod: &mut Pod) -> Result<()> {
        let id = pod.id.clone().context("an ID")?;
        for _ in 0..self.times() {
            let answered = weather.stop_pod(&id).await?;
            self.count("StopPodSandbox", &answered);
            pod.stop = pod.stop.max(answered.told());
            answered.must_succeed(&format!("StopPodSandbox of {id}"))?;
        }
        Ok(())
    }

    async fn remove_pod(&mut self, weather: &Weather, pod: &mut Pod) -> Result<()> {
        let id = pod.id.clone().context("an ID")?;
        for _ in 0..self.times() {
            let answered = weather.remove_pod(&id).await?;
            self.count("RemovePodSandbox", &answered);
            pod.remove = pod.remove.max(answered.told());
            answered.must_succeed(&format!("RemovePodSandbox of {id}"))?;
        }
        Ok(())
    }

    /// Now and then a second time: that succeeds too.
    fn times(&mut self) -> usize {
        if self.chance(20) { 2 } else { 1 }
    }

    fn is_usable(&self, weather: &Weather, pod: &Pod) -> bool {
        let lost = pod.id.as_ref().is_some_and(|id| weather.has_lost_its_monitor(id));
        pod.is_usable() && !lost
    }

    fn config(&self, pod: &Pod) -> v1::PodSandboxConfig {
        let mut config = self.template.clone();
        let metadata = config.metadata.get_or_insert_default();
        (metadata.name, metadata.attempt) = (pod.name.clone(), pod.attempt);
        metadata.uid = format!("uid-{}", pod.name);
        config.hostname = if pod.host_network { String::new() } else { pod.name.clone() };
        if pod.host_network {
            let security = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            security.namespace_options.get_or_insert_default().set_network(v1::NamespaceMode::Node);
        }
        config
    }

    fn count<T>(&mut self, rpc: &'static str, answered: &Answered<T>) {
        let (ok, failed) = self.calls.entry(rpc).or_default();
        *if answered.result.is_ok() { ok } else { failed } += 1;
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random.next() % limit.max(1)
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Whether the daemon comes to say that a container has ended; `false` if it does not answer any more.
async fn ended(weather: &Weather, id: &str) -> Result<bool> {
    wait::until("the container's end is told", ENDS, async || {
        let answered = weather.container_status(id).await?;
        let Ok(answer) = answered.result else { return Ok(false) };
        let state = answer.status.unwrap_or_default().state();
        ensure!(state == v1::ContainerState::ContainerExited, "it is {state:?}");
        Ok(true)
    })
    .await
}
