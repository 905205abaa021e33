//! What becomes of each pod and container that an earlier daemon left. Pure.

use linkspan_runtime_oci::Exit;

use super::facts::{ContainerFacts, Facts, Presence, SandboxFacts};
use crate::container::state as container;
use crate::sandbox::state as sandbox;

/// Exit codes from here on are a signal's.
const SIGNALLED: i32 = 128;

/// For a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SandboxFate {
    /// As it is; its monitor, if it has one, is followed again, as soon as it answers.
    Keep,
    /// What it held is still to be let go of by StopPodSandbox.
    NotReady,
    /// A create was under way.
    Undo,
}

/// For a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContainerFate {
    Keep,
    /// Started, but the daemon did not come to note it.
    Started,
    /// It ended while no daemon was there.
    Exited(Exit),
    /// The same, of one whose start was not noted either.
    RanUnnoted(Exit),
    /// The machine was started anew under it.
    Rebooted,
    /// It was being restored, or was, but the daemon did not come to note it.
    CutOff,
    /// Nobody will tell how it ends: it is killed.
    Abandoned,
    /// Ended long ago; what it held may still be there.
    CleanUp,
    /// A create was under way, or its sandbox's record is lost.
    Undo,
}

/// In the order of the facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) sandboxes: Vec<SandboxFate>,
    pub(super) containers: Vec<ContainerFate>,
}

pub(super) fn decide(facts: &Facts) -> Plan {
    Plan {
        sandboxes: facts.sandboxes.iter().map(of_sandbox).collect(),
        containers: facts.containers.iter().map(of_container).collect(),
    }
}

fn of_sandbox(facts: &SandboxFacts) -> SandboxFate {
    let healthy = facts.same_boot && facts.monitor != Presence::Gone && facts.pause_alive;
    match &facts.record.state {
        sandbox::State::Creating => SandboxFate::Undo,
        sandbox::State::Ready { .. } if !healthy => SandboxFate::NotReady,
        // A stop had begun, and has nobody to end pause any more.
        sandbox::State::NotReady { .. } if facts.same_boot && facts.monitor == Presence::Gone => {
            SandboxFate::NotReady
        }
        sandbox::State::Ready { .. } | sandbox::State::NotReady { .. } | sandbox::State::Stopped { .. } => {
            SandboxFate::Keep
        }
    }
}

fn of_container(facts: &ContainerFacts) -> ContainerFate {
    match (&facts.record.state, facts.exit) {
        _ if !facts.has_sandbox => ContainerFate::Undo,
        (container::State::Creating, _) => ContainerFate::Undo,
        (container::State::Exited(_), _) => ContainerFate::CleanUp,
        _ if !facts.same_boot => ContainerFate::Rebooted,
        // Until it is started nothing but a signal ends it.
        (container::State::Created { .. }, Some(exit)) if exit.code < SIGNALLED => {
            ContainerFate::RanUnnoted(exit)
        }
        (_, Some(exit)) => ContainerFate::Exited(exit),
        (container::State::AwaitsRestore, None) if facts.was_started => ContainerFate::CutOff,
        (container::State::AwaitsRestore, None) => ContainerFate::Keep,
        (container::State::Unknown { .. }, None) => ContainerFate::Abandoned,
        (_, None) if facts.monitor == Presence::Gone => ContainerFate::Abandoned,
        (container::State::Created { .. }, None) if facts.was_started => ContainerFate::Started,
        (container::State::Created { .. } | container::State::Running { .. }, None) => ContainerFate::Keep,
    }
}

#[cfg(test)]
mod tests;
