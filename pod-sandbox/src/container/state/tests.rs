use linkspan_runtime_oci::{Process, Timestamp};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Exited, Refused, Request, State, Verdict, admit};

#[derive(Clone, Copy, Debug)]
enum Event {
    Started,
    Exited(i32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![Just(Event::Started), any::<i32>().prop_map(Event::Exited)]
}

fn created() -> State {
    State::Created { process: Process { pid: 7, start_time: 9 } }
}

fn run(events: &[Event]) -> State {
    let mut state = created();
    for (at, event) in events.iter().enumerate() {
        let now = Timestamp(at as i64 + 1);
        let next = match event {
            Event::Started => state.started(now),
            Event::Exited(code) => state.exited(now, *code, false, ""),
        };
        state = next.unwrap_or(state);
    }
    state
}

proptest! {
    #[test]
    fn the_first_exit_counts_and_is_never_lost(events in prop::collection::vec(event(), 0..12)) {
        let first = events.iter().find_map(|event| if let Event::Exited(code) = event { Some(*code) } else { None });
        match (run(&events), first) {
            (State::Exited(exited), Some(code)) => prop_assert_eq!(exited.exit_code, code),
            (State::Exited(_), None) => prop_assert!(false, "exited by itself"),
            (_, first) => prop_assert_eq!(first, None),
        }
    }

    #[test]
    fn times_are_in_order(events in prop::collection::vec(event(), 0..12)) {
        if let State::Exited(exited) = run(&events) {
            prop_assert!(exited.started_at <= exited.finished_at);
            let ran = events.iter().any(|event| matches!(event, Event::Started));
            prop_assert_eq!(exited.started_at != Timestamp::default(), ran);
        }
    }

    #[test]
    fn only_a_created_container_is_started(events in prop::collection::vec(event(), 0..12)) {
        let state = run(&events);
        let proceed = admit(&state, Request::Start) == Verdict::Proceed;
        let is_created = matches!(state, State::Created { .. });
        prop_assert_eq!(proceed, is_created);
    }
}

#[test]
fn what_each_state_allows() {
    let exited = State::Exited(Exited {
        started_at: Timestamp(1),
        finished_at: Timestamp(2),
        exit_code: 0,
        oom_killed: false,
        message: String::new(),
    });
    let running = State::Running { process: Process { pid: 7, start_time: 9 }, since: Timestamp(1) };
    let check = |state: &State, request, expected| assert_eq!(admit(state, request), expected, "{request:?}");
    check(&created(), Request::Exec, Verdict::Proceed);
    check(&created(), Request::Stop, Verdict::Proceed);
    check(&running, Request::Start, Verdict::Refuse(Refused::NotCreated));
    check(&running, Request::Remove, Verdict::Proceed);
    check(&running, Request::Update, Verdict::Proceed);
    check(&exited, Request::Stop, Verdict::AlreadyDone);
    check(&exited, Request::Exec, Verdict::Refuse(Refused::NotRunning));
    check(&exited, Request::Update, Verdict::Refuse(Refused::HasExited));
    check(&exited, Request::ReopenLog, Verdict::Refuse(Refused::NotRunning));
    check(&exited, Request::Start, Verdict::Refuse(Refused::NotCreated));
}
