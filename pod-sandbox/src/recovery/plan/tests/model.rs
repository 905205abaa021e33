//! All that may be found of a container, one by one: whatever it is, it comes to rest, and no end is lost.

use linkspan_runtime_oci::Exit;

use super::super::super::facts::{ContainerFacts, Presence};
use super::super::{ContainerFate, of_container};
use super::{EXIT, PROCESS, Timestamp};
use crate::container::record::ContainerRecord;
use crate::container::state::{EXIT_CODE_LOST, Exited, State};

fn states() -> [State; 6] {
    let ended = Exited {
        started_at: Timestamp(1),
        finished_at: Timestamp(2),
        exit_code: 4,
        oom_killed: false,
        message: String::new(),
    };
    [
        State::Creating,
        State::AwaitsRestore,
        State::Created { process: PROCESS },
        State::Running { process: PROCESS, since: Timestamp(10) },
        State::Unknown { process: PROCESS, since: Timestamp(10) },
        State::Exited(ended),
    ]
}

/// Each combination once.
fn everything() -> Vec<ContainerFacts> {
    let mut all = Vec::new();
    let killed = Exit { code: 137, ..EXIT };
    for state in states() {
        for monitor in [Presence::Connected, Presence::Silent, Presence::Gone] {
            for exit in [None, Some(EXIT), Some(killed)] {
                for bits in 0..8 {
                    let [same_boot, has_sandbox, was_started] = [1, 2, 4].map(|bit| bits & bit != 0);
                    let record = ContainerRecord::example(state.clone());
                    // An exit record of another boot is not read, and no runtime is asked about it.
                    let (exit, was_started) = (exit.filter(|_| same_boot), was_started && same_boot);
                    all.push(ContainerFacts { record, same_boot, has_sandbox, monitor, exit, was_started });
                }
            }
        }
    }
    all
}

/// What it is once the fate has been carried out; `None`: gone.
fn carried_out(state: &State, fate: &ContainerFate) -> Option<State> {
    let ended = |exit: &Exit| state.exited(exit.at, exit.code, exit.oom_killed, "");
    let lost = Exit { code: EXIT_CODE_LOST, ..EXIT };
    let next = match fate {
        ContainerFate::Undo => return None,
        ContainerFate::Keep | ContainerFate::CleanUp => None,
        ContainerFate::Started => state.started(Timestamp(15)),
        ContainerFate::Exited(exit) => ended(exit),
        ContainerFate::RanUnnoted(exit) => ended(exit).and_then(|ended| ended.started(exit.at)),
        ContainerFate::Rebooted | ContainerFate::CutOff | ContainerFate::Abandoned => ended(&lost),
    };
    Some(next.unwrap_or_else(|| state.clone()))
}

#[test]
fn whatever_is_found_comes_to_rest_and_no_end_is_lost() {
    for facts in everything() {
        let (state, fate) = (facts.record.state.clone(), of_container(&facts));
        let is_orphan = state == State::Creating || !facts.has_sandbox;
        assert_eq!(fate == ContainerFate::Undo, is_orphan, "{facts:?}");
        let Some(next) = carried_out(&state, &fate) else { continue };

        if let Some(exit) = facts.exit.filter(|_| !matches!(state, State::Exited(_))) {
            let State::Exited(ended) = &next else { panic!("the end is lost: {facts:?} is {next:?}") };
            assert_eq!(ended.exit_code, exit.code, "{facts:?}");
            let ran = !matches!(state, State::AwaitsRestore | State::Created { .. })
                || (exit.code < 128 && state != State::AwaitsRestore);
            assert_eq!(ended.started_at != Timestamp::default(), ran, "{facts:?}");
        }
        if matches!(state, State::Exited(_)) {
            assert_eq!(next, state, "an end is told once");
        }
        let is_watched = facts.monitor != Presence::Gone && facts.same_boot;
        let lives = !matches!(next, State::Exited(_) | State::AwaitsRestore);
        assert!(is_watched || !lives, "nobody would tell how it ends: {facts:?} is {next:?}");

        // The next start finds what this one has left.
        let mut again = facts.clone();
        again.record.state = next.clone();
        let rest = of_container(&again);
        let at_rest =
            matches!(next, State::Exited(_)) && rest == ContainerFate::CleanUp || rest == ContainerFate::Keep;
        assert!(at_rest, "{facts:?} is {next:?}, and then {rest:?}");
    }
}
