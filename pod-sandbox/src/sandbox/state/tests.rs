use linkspan_runtime_oci::{Process, Timestamp};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

use super::{Request, State, Verdict, admit};

proptest! {
    #[test]
    fn a_sandbox_never_becomes_ready_again(steps in prop::collection::vec(any::<bool>(), 1..8)) {
        let mut state = State::Ready { pause: Process { pid: 7, start_time: 9 } };
        for (at, stopped) in steps.into_iter().enumerate() {
            let now = Timestamp(at as i64);
            let next = if stopped { state.stopped(now) } else { state.not_ready(now) };
            state = next.unwrap_or(state);
            prop_assert_eq!(admit(&state, Request::CreateContainer), Verdict::RefuseNotReady);
            prop_assert_eq!(admit(&state, Request::Remove), Verdict::Proceed);
            prop_assert!(state.pause().is_none());
        }
    }
}

#[test]
fn what_each_state_allows() {
    let ready = State::Ready { pause: Process { pid: 7, start_time: 9 } };
    let not_ready = State::NotReady { since: Timestamp(1) };
    let stopped = State::Stopped { since: Timestamp(1) };
    let check = |state: &State, request, expected| assert_eq!(admit(state, request), expected, "{request:?}");
    check(&ready, Request::CreateContainer, Verdict::Proceed);
    check(&ready, Request::StartContainer, Verdict::Proceed);
    check(&ready, Request::Update, Verdict::Proceed);
    check(&ready, Request::Stop, Verdict::Proceed);
    check(&not_ready, Request::Stop, Verdict::Proceed);
    check(&not_ready, Request::StartContainer, Verdict::RefuseNotReady);
    check(&not_ready, Request::Update, Verdict::RefuseNotReady);
    check(&stopped, Request::Stop, Verdict::AlreadyDone);
}
