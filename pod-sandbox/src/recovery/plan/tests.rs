mod model;

use linkspan_runtime_oci::{Exit, Process, Timestamp};

use super::super::facts::{ContainerFacts, Presence, SandboxFacts};
use super::{ContainerFate, SandboxFate, of_container, of_sandbox};
use crate::container::record::ContainerRecord;
use crate::container::state::{Exited, State};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state;

const PROCESS: Process = Process { pid: 7, start_time: 9 };
const EXIT: Exit = Exit { code: 3, at: Timestamp(20), oom_killed: false, log_bytes_dropped: 0 };

fn container(state: State, change: impl FnOnce(&mut ContainerFacts)) -> ContainerFate {
    let mut facts = ContainerFacts {
        record: ContainerRecord::example(state),
        same_boot: true,
        has_sandbox: true,
        monitor: Presence::Connected,
        exit: None,
        was_started: false,
    };
    change(&mut facts);
    of_container(&facts)
}

fn running() -> State {
    State::Running { process: PROCESS, since: Timestamp(10) }
}

#[test]
fn a_container_goes_on_where_it_was() {
    let created = State::Created { process: PROCESS };
    assert_eq!(container(running(), |_| {}), ContainerFate::Keep);
    assert_eq!(container(created.clone(), |_| {}), ContainerFate::Keep);
    assert_eq!(container(created.clone(), |facts| facts.was_started = true), ContainerFate::Started);
    assert_eq!(container(running(), |facts| facts.exit = Some(EXIT)), ContainerFate::Exited(EXIT));
    let killed = Exit { code: 137, ..EXIT };
    assert_eq!(container(created.clone(), |facts| facts.exit = Some(killed)), ContainerFate::Exited(killed));
    assert_eq!(container(created, |facts| facts.exit = Some(EXIT)), ContainerFate::RanUnnoted(EXIT));
    assert_eq!(container(running(), |facts| facts.monitor = Presence::Gone), ContainerFate::Abandoned);
}

#[test]
fn a_pod_whose_monitor_is_silent_is_kept_as_recorded() {
    assert_eq!(container(running(), |facts| facts.monitor = Presence::Silent), ContainerFate::Keep);
    let fate = container(running(), |facts| (facts.monitor, facts.exit) = (Presence::Silent, Some(EXIT)));
    assert_eq!(fate, ContainerFate::Exited(EXIT));
}

#[test]
fn what_awaits_its_restore_waits_on_unless_the_restore_had_begun() {
    assert_eq!(container(State::AwaitsRestore, |_| {}), ContainerFate::Keep);
    let fate = container(State::AwaitsRestore, |facts| facts.was_started = true);
    assert_eq!(fate, ContainerFate::CutOff);
    let fate = container(State::AwaitsRestore, |facts| facts.same_boot = false);
    assert_eq!(fate, ContainerFate::Rebooted);
}

#[test]
fn an_exit_is_known_even_without_its_monitor() {
    let fate = container(running(), |facts| (facts.monitor, facts.exit) = (Presence::Gone, Some(EXIT)));
    assert_eq!(fate, ContainerFate::Exited(EXIT));
}

#[test]
fn after_a_reboot_nothing_runs_and_old_exits_stay() {
    let exited = State::Exited(Exited {
        started_at: Timestamp(1),
        finished_at: Timestamp(2),
        exit_code: 0,
        oom_killed: false,
        message: String::new(),
    });
    assert_eq!(container(running(), |facts| facts.same_boot = false), ContainerFate::Rebooted);
    assert_eq!(container(exited, |facts| facts.same_boot = false), ContainerFate::CleanUp);
}

#[test]
fn what_was_half_made_or_lost_its_sandbox_is_undone() {
    assert_eq!(container(State::Creating, |_| {}), ContainerFate::Undo);
    assert_eq!(container(running(), |facts| facts.has_sandbox = false), ContainerFate::Undo);
}

#[test]
fn a_sandbox_stays_ready_only_with_all_that_makes_it_so() {
    let sandbox = |state, change: fn(&mut SandboxFacts)| {
        let mut facts = SandboxFacts {
            record: SandboxRecord::example(state),
            same_boot: true,
            monitor: Presence::Connected,
            pause_alive: true,
        };
        change(&mut facts);
        of_sandbox(&facts)
    };
    let ready = || state::State::Ready { pause: PROCESS };
    assert_eq!(sandbox(ready(), |_| {}), SandboxFate::Keep);
    assert_eq!(sandbox(ready(), |facts| facts.pause_alive = false), SandboxFate::NotReady);
    assert_eq!(sandbox(ready(), |facts| facts.monitor = Presence::Gone), SandboxFate::NotReady);
    assert_eq!(sandbox(ready(), |facts| facts.monitor = Presence::Silent), SandboxFate::Keep);
    assert_eq!(sandbox(ready(), |facts| facts.same_boot = false), SandboxFate::NotReady);
    assert_eq!(sandbox(state::State::Creating, |_| {}), SandboxFate::Undo);
    let stopped = state::State::Stopped { since: Timestamp(3) };
    assert_eq!(sandbox(stopped, |facts| facts.monitor = Presence::Gone), SandboxFate::Keep);
    let stopping = || state::State::NotReady { since: Timestamp(3) };
    assert_eq!(sandbox(stopping(), |_| {}), SandboxFate::Keep);
    assert_eq!(sandbox(stopping(), |facts| facts.monitor = Presence::Gone), SandboxFate::NotReady);
}
