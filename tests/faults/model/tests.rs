use linkspan_cri_api::v1::ContainerState::{
    self, ContainerCreated as Created, ContainerExited as Exited, ContainerRunning as Running,
    ContainerUnknown as Unknown,
};

use super::{Container, Ends, Exit, Fits, Pod, SeenContainer, SeenPod, Told, judge, judge_pod};

fn pod() -> Pod {
    Pod {
        id: Some("pod".to_owned()),
        name: "pod".to_owned(),
        attempt: 0,
        host_network: false,
        stop: Told::NotAsked,
        remove: Told::NotAsked,
        monitor_killed: false,
        containers: Vec::new(),
    }
}

/// Ends by itself with 7, and was started.
fn started() -> Container {
    Container {
        id: Some("container".to_owned()),
        name: "container".to_owned(),
        attempt: 0,
        ends: Ends::ByItself(7),
        life_ms: 0,
        start: Told::Done,
        stop: Told::NotAsked,
        remove: Told::NotAsked,
        exit: None,
    }
}

fn seen(state: ContainerState, code: i32) -> SeenContainer {
    let message = if code == 255 {
        "its monitor was lost, and its exit code with it".to_owned()
    } else {
        String::new()
    };
    SeenContainer {
        state,
        started_at: i64::from(!matches!(state, Created)),
        exit: Exit { code, finished_at: 5, message },
        processes: usize::from(!matches!(state, Exited)),
    }
}

fn check(pod: &Pod, container: &Container, seen: &SeenContainer, expected: Option<Fits>) {
    assert_eq!(judge(pod, container, Some(seen)).ok(), expected, "{pod:?}\n{container:?}\n{seen:?}");
}

#[test]
fn who_ends_by_itself_has_its_own_code_and_no_other() {
    check(&pod(), &started(), &seen(Exited, 7), Some(Fits::EndKnown));
    for wrong in [seen(Exited, 0), seen(Exited, 137), seen(Exited, 255), seen(Running, 0), seen(Created, 0)] {
        check(&pod(), &started(), &wrong, None);
    }
    let never_started = SeenContainer { started_at: 0, ..seen(Exited, 7) };
    check(&pod(), &started(), &never_started, None);
}

#[test]
fn an_end_is_unknown_only_without_the_monitor_and_says_so() {
    let lost = Pod { monitor_killed: true, ..pod() };
    check(&lost, &started(), &seen(Exited, 255), Some(Fits::EndHonestlyUnknown));
    check(&lost, &started(), &seen(Exited, 7), Some(Fits::EndKnown));
    let mut silent = seen(Exited, 255);
    silent.exit.message.clear();
    check(&lost, &started(), &silent, None);
    for wrong in [seen(Running, 0), seen(Created, 0), seen(Exited, 137), seen(Unknown, 0)] {
        check(&lost, &started(), &wrong, None);
    }
}

#[test]
fn who_is_stopped_ends_by_itself_or_is_killed() {
    for stop in [Told::CutOff, Told::Failed, Told::Done] {
        let by_itself = Container { stop, ..started() };
        let at_its_trap = Container { ends: Ends::WhenStopped(9), ..by_itself.clone() };
        for (container, code) in [(&by_itself, 7), (&by_itself, 137), (&at_its_trap, 9), (&at_its_trap, 137)]
        {
            check(&pod(), container, &seen(Exited, code), Some(Fits::EndKnown));
        }
        let runs_on = (stop != Told::Done).then_some(Fits::NotEnded);
        check(&pod(), &at_its_trap, &seen(Running, 0), runs_on);
    }
    let nobody_stopped_it = Container { ends: Ends::WhenStopped(9), ..started() };
    check(&pod(), &nobody_stopped_it, &seen(Running, 0), Some(Fits::NotEnded));
    check(&pod(), &nobody_stopped_it, &seen(Exited, 9), None);
    let stopped = Pod { stop: Told::Done, ..pod() };
    check(&stopped, &nobody_stopped_it, &seen(Exited, 137), Some(Fits::EndKnown));
    check(&stopped, &nobody_stopped_it, &seen(Running, 0), None);
}

#[test]
fn a_start_that_was_cut_off_happened_or_not_and_harms_nobody() {
    let container = Container { start: Told::CutOff, ..started() };
    check(&pod(), &container, &seen(Created, 0), Some(Fits::NotEnded));
    check(&pod(), &container, &seen(Exited, 7), Some(Fits::EndKnown));
    check(&pod(), &container, &seen(Exited, 137), None);
    assert!(judge(&pod(), &container, None).is_err());
    let failed = Container { start: Told::Failed, ..started() };
    check(&pod(), &failed, &seen(Exited, 137), Some(Fits::EndKnown));
    assert_eq!(judge(&pod(), &failed, None), Ok(Fits::NotListed));
}

#[test]
fn who_was_never_started_neither_runs_nor_ends_by_itself() {
    let container = Container { start: Told::NotAsked, ..started() };
    check(&pod(), &container, &seen(Created, 0), Some(Fits::NotEnded));
    for wrong in [seen(Running, 0), seen(Exited, 7), seen(Exited, 137)] {
        check(&pod(), &container, &wrong, None);
    }
    let stopped = Container { stop: Told::Done, ..container };
    check(&pod(), &stopped, &seen(Exited, 137), Some(Fits::EndKnown));
    check(&pod(), &stopped, &seen(Exited, 7), None);
}

#[test]
fn state_and_processes_agree() {
    let runs = Container { ends: Ends::WhenStopped(9), ..started() };
    check(&pod(), &runs, &SeenContainer { processes: 0, ..seen(Running, 0) }, None);
    check(&pod(), &started(), &SeenContainer { processes: 1, ..seen(Exited, 7) }, None);
}

#[test]
fn an_end_is_told_once() {
    let told = |code| Container { exit: Some(seen(Exited, code).exit), ..started() };
    check(&pod(), &told(7), &seen(Exited, 7), Some(Fits::EndKnown));
    check(&Pod { monitor_killed: true, ..pod() }, &told(7), &seen(Exited, 255), None);
    let runs_again = Container { ends: Ends::WhenStopped(9), ..told(7) };
    check(&pod(), &runs_again, &seen(Running, 0), None);
}

#[test]
fn what_was_removed_is_not_listed_and_all_else_is() {
    let removed = Container { remove: Told::Done, ..started() };
    check(&pod(), &removed, &seen(Exited, 7), None);
    check(&Pod { remove: Told::Done, ..pod() }, &started(), &seen(Exited, 7), None);
    assert_eq!(judge(&pod(), &removed, None), Ok(Fits::NotListed));
    assert_eq!(judge(&pod(), &Container { remove: Told::CutOff, ..started() }, None), Ok(Fits::NotListed));
    assert_eq!(judge(&pod(), &Container { id: None, ..started() }, None), Ok(Fits::NotListed));
    assert!(judge(&pod(), &started(), None).is_err());
    assert!(judge_pod(&pod(), None).is_err());
    assert!(judge_pod(&Pod { remove: Told::Failed, ..pod() }, None).is_ok());
    assert!(judge_pod(&Pod { remove: Told::Done, ..pod() }, Some(&SeenPod::default())).is_err());
}

#[test]
fn a_pod_is_ready_until_it_is_stopped_or_its_monitor_is_lost() {
    let whole = SeenPod { ready: true, has_address: true, monitor: true, pause: 1, held: Vec::new() };
    let stopped = Pod { stop: Told::Done, ..pod() };
    let lost = Pod { monitor_killed: true, ..pod() };
    assert_eq!(judge_pod(&pod(), Some(&whole)), Ok(()));
    assert!(judge_pod(&stopped, Some(&whole)).is_err());
    assert!(judge_pod(&lost, Some(&whole)).is_err());
    assert_eq!(judge_pod(&Pod { stop: Told::CutOff, ..pod() }, Some(&whole)), Ok(()));
    for broken in [
        SeenPod { pause: 0, ..whole.clone() },
        SeenPod { monitor: false, ..whole.clone() },
        SeenPod { has_address: false, ..whole.clone() },
        SeenPod { ready: false, ..whole },
    ] {
        assert!(judge_pod(&pod(), Some(&broken)).is_err(), "{broken:?}");
    }
    let over = SeenPod::default();
    assert_eq!(judge_pod(&stopped, Some(&over)), Ok(()));
    assert_eq!(judge_pod(&lost, Some(&over)), Ok(()));
    assert!(judge_pod(&pod(), Some(&over)).is_err());
    assert!(judge_pod(&lost, Some(&SeenPod { pause: 1, ..over.clone() })).is_err());
    let holds = SeenPod { held: vec!["an address".to_owned()], ..over };
    assert!(judge_pod(&stopped, Some(&holds)).is_err());
    assert_eq!(judge_pod(&lost, Some(&holds)), Ok(()), "until it is stopped");
}
