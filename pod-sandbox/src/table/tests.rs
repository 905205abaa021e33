use linkspan_runtime_oci::Process;
use tempfile::TempDir;

use super::*;
use crate::container::state::Exited;
use crate::model::{ContainerState, SandboxState, SandboxStatus};

const PROCESS: Process = Process { pid: 7, start_time: 9 };

fn open() -> (TempDir, Arc<Table>) {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).unwrap();
    (dir, Table::new(records, Snapshot::default()))
}

fn sandbox() -> SandboxRecord {
    SandboxRecord::example(sandbox::State::Ready { pause: PROCESS })
}

fn container(sandbox: &SandboxRecord) -> ContainerRecord {
    let state = container::State::Created { process: PROCESS };
    ContainerRecord { sandbox_id: sandbox.id.clone(), ..ContainerRecord::example(state) }
}

fn exited(started_at: Timestamp) -> container::State {
    let message = String::new();
    let finished_at = Timestamp(4);
    container::State::Exited(Exited { started_at, finished_at, exit_code: 1, oom_killed: false, message })
}

/// What the event says, and the pod's state in it.
fn check(event: &Event, id: &str, kind: EventKind, pod: (&SandboxRecord, SandboxState, &[ContainerState])) {
    assert_eq!((event.id.as_str(), event.kind), (id, kind));
    let SandboxStatus { id, state, .. } = event.sandbox();
    assert_eq!((&id, state), (&pod.0.id, pod.1));
    let states: Vec<_> = event.containers().iter().map(|status| status.state).collect();
    assert_eq!(states, pod.2);
}

#[tokio::test]
async fn a_life_is_told_with_the_pod_as_it_is_after_each_step() {
    use EventKind::{Created, Deleted, Started, Stopped};
    let (_dir, table) = open();
    let mut told = table.subscribe();
    let pod = sandbox();
    let one = container(&pod);
    let other = table.put(sandbox()).await.unwrap();
    table.put(container(&other)).await.unwrap();
    table.put(pod.clone()).await.unwrap();
    table.put(one.clone()).await.unwrap();
    let states = [container::State::Running { process: PROCESS, since: Timestamp(3) }, exited(Timestamp(3))];
    for state in states {
        table.put(ContainerRecord { state, ..one.clone() }).await.unwrap();
    }
    let state = sandbox::State::NotReady { since: Timestamp(5) };
    table.put(SandboxRecord { state, ..pod.clone() }).await.unwrap();
    table.remove::<ContainerRecord>(&one.id).await.unwrap();
    table.remove::<SandboxRecord>(&pod.id).await.unwrap();

    let mut events = Vec::new();
    while let Ok(event) = told.try_recv() {
        events.push(event);
    }
    assert!(events.windows(2).all(|pair| pair[0].at < pair[1].at), "each is later than the one before");
    let (ready, gone) = (SandboxState::Ready, SandboxState::NotReady);
    let expected: [(&str, EventKind, SandboxState, &[ContainerState]); 8] = [
        (pod.id.as_str(), Created, ready, &[]),
        (pod.id.as_str(), Started, ready, &[]),
        (one.id.as_str(), Created, ready, &[ContainerState::Created]),
        (one.id.as_str(), Started, ready, &[ContainerState::Running]),
        (one.id.as_str(), Stopped, ready, &[ContainerState::Exited]),
        (pod.id.as_str(), Stopped, gone, &[ContainerState::Exited]),
        (one.id.as_str(), Deleted, gone, &[]),
        (pod.id.as_str(), Deleted, gone, &[]),
    ];
    // The other pod's three come first.
    assert_eq!(events.len(), 3 + expected.len());
    for (event, (id, kind, state, containers)) in events[3..].iter().zip(expected) {
        check(event, id, kind, (&pod, state, containers));
    }
}

#[tokio::test]
async fn what_is_not_there_is_removed_without_an_event() {
    let (_dir, table) = open();
    let mut told = table.subscribe();
    table.remove::<SandboxRecord>(&SandboxId::generate()).await.unwrap();
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_turn_events_round() {
    let (_dir, table) = open();
    let mut told = table.subscribe();
    let future = Timestamp::now().0 + 3_600_000_000_000;
    table.told_at.store(future, Ordering::Relaxed);
    table.put(sandbox()).await.unwrap();
    assert_eq!(told.try_recv().unwrap().at, Timestamp(future + 1));
    assert_eq!(told.try_recv().unwrap().at, Timestamp(future + 2));
}

#[tokio::test]
async fn a_start_that_is_noted_after_the_end_is_told_and_the_end_again() {
    use EventKind::{Created, Started, Stopped};
    let (_dir, table) = open();
    let pod = table.put(sandbox()).await.unwrap();
    let mut told = table.subscribe();
    let one = container(&pod);
    table.put(one.clone()).await.unwrap();
    for started_at in [Timestamp(0), Timestamp(3), Timestamp(3)] {
        table.put(ContainerRecord { state: exited(started_at), ..one.clone() }).await.unwrap();
    }
    let mut kinds = Vec::new();
    while let Ok(event) = told.try_recv() {
        kinds.push((event.kind, event.containers()[0].started_at.0));
    }
    assert_eq!(kinds, [(Created, 0), (Stopped, 0), (Started, 3), (Stopped, 3)]);
}
