//! When blows fall, for whoever must know whether a call of theirs was hit.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use linkspan_cri_api::v1;
use linkspan_tests::client::Runtime;
use tokio::sync::watch;
use tonic::{Response, Status};

use crate::model::Told;

/// Longer than any call here has a reason to take: the longest grace is a second.
const ANSWER: Duration = Duration::from_secs(30);

/// What the churn and the blows share.
pub(crate) struct Weather {
    now: watch::Sender<Now>,
    /// To the daemon of now.
    runtime: Mutex<Runtime>,
    /// Sandboxes whose monitors were killed.
    without_monitor: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Now {
    /// From before a blow until its end; a daemon's ends when the next one serves.
    blow: bool,
    daemon_is_down: bool,
    blows: u64,
    daemons_killed: u64,
    /// The round comes to its end.
    over: bool,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Answered<T> {
    pub(crate) result: Result<T, Status>,
    /// A blow fell meanwhile.
    pub(crate) disturbed: bool,
    told: Told,
}

impl<T> Answered<T> {
    pub(crate) fn told(&self) -> Told {
        self.told
    }

    /// # Errors
    /// If it failed for no reason.
    pub(crate) fn must_succeed(&self, what: &str) -> Result<()> {
        match &self.result {
            Err(status) if !self.disturbed => {
                bail!("{what} failed, though nothing disturbed it: {:?}: {}", status.code(), status.message())
            }
            _ => Ok(()),
        }
    }
}

impl Weather {
    pub(crate) fn new(runtime: Runtime) -> Weather {
        Weather {
            now: watch::Sender::new(Now::default()),
            runtime: Mutex::new(runtime),
            without_monitor: Mutex::default(),
        }
    }

    /// One call, with a deadline of its own.
    ///
    /// # Errors
    /// If it is not answered in time.
    pub(crate) async fn call<T, F>(&self, what: &str, call: impl FnOnce(Runtime) -> F) -> Result<Answered<T>>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = *self.now.borrow();
        let Ok(answer) = tokio::time::timeout(ANSWER, call(runtime)).await else {
            bail!("{what}: no answer within {ANSWER:?}");
        };
        let after = *self.now.borrow();
        let cut_off = before.daemon_is_down || before.daemons_killed != after.daemons_killed;
        Ok(Answered {
            disturbed: before.blow || before.blows != after.blows,
            told: match answer {
                Ok(_) => Told::Done,
                Err(_) if cut_off => Told::CutOff,
                Err(_) => Told::Failed,
            },
            result: answer.map(Response::into_inner),
        })
    }

    pub(crate) async fn remove_container(&self, id: &str) -> Result<Answered<v1::RemoveContainerResponse>> {
        let request = v1::RemoveContainerRequest { container_id: id.to_owned() };
        self.call("RemoveContainer", async |mut runtime| runtime.remove_container(request).await).await
    }

    pub(crate) async fn stop_pod(&self, id: &str) -> Result<Answered<v1::StopPodSandboxResponse>> {
        let request = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.call("StopPodSandbox", async |mut runtime| runtime.stop_pod_sandbox(request).await).await
    }

    pub(crate) async fn remove_pod(&self, id: &str) -> Result<Answered<v1::RemovePodSandboxResponse>> {
        let request = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        self.call("RemovePodSandbox", async |mut runtime| runtime.remove_pod_sandbox(request).await).await
    }

    pub(crate) async fn container_status(&self, id: &str) -> Result<Answered<v1::ContainerStatusResponse>> {
        let request = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        self.call("ContainerStatus", async |mut runtime| runtime.container_status(request).await).await
    }

    /// Waits until there is a daemon to be called; `false` once the round is to end.
    pub(crate) async fn goes_on(&self) -> bool {
        let mut now = self.now.subscribe();
        let settled = now.wait_for(|now| now.over || !now.daemon_is_down).await;
        settled.is_ok_and(|now| !now.over)
    }

    pub(crate) fn begin_round(&self) {
        self.now.send_modify(|now| now.over = false);
    }

    pub(crate) fn end_round(&self) {
        self.now.send_modify(|now| now.over = true);
    }

    pub(crate) fn begin_blow(&self, monitor_of: Option<&str>, daemon: bool) {
        if let Some(sandbox) = monitor_of {
            self.lose_monitor(sandbox);
        }
        self.now.send_modify(|now| {
            now.blow = true;
            now.blows += 1;
            now.daemon_is_down |= daemon;
            now.daemons_killed += u64::from(daemon);
        });
    }

    pub(crate) fn lose_monitor(&self, sandbox: &str) {
        let mut lost = self.without_monitor.lock().unwrap_or_else(PoisonError::into_inner);
        lost.insert(sandbox.to_owned());
    }

    pub(crate) fn end_blow(&self) {
        self.now.send_modify(|now| (now.blow, now.daemon_is_down) = (false, false));
    }

    /// To the daemon that serves by now.
    pub(crate) fn connect(&self, runtime: &Runtime) {
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = runtime.clone();
    }

    pub(crate) fn has_lost_its_monitor(&self, sandbox: &str) -> bool {
        self.without_monitor.lock().unwrap_or_else(PoisonError::into_inner).contains(sandbox)
    }

    pub(crate) fn names_one_without_monitor(&self, text: &str) -> bool {
        let lost = self.without_monitor.lock().unwrap_or_else(PoisonError::into_inner);
        lost.iter().any(|id| text.contains(id.as_str()))
    }
}
