use std::time::Duration;

use prost::Message;

use super::{ALL_EVENTS, Deadlines, Plugin, check_name};
use crate::api::ttrpc::{Request, Response, Status};
use crate::api::{
    ConfigureResponse, Container, ContainerUpdate, Event, PodSandbox, RunPodSandboxRequest, StateChangeEvent,
    SynchronizeRequest, SynchronizeResponse,
};
use crate::connection::tests::{Peer, pair};
use crate::error::Error;
use crate::mux::PLUGIN_SERVICE;
use crate::ttrpc::Kind;

const LONG: Duration = Duration::from_secs(20);

fn plugin() -> (Plugin, Peer) {
    let (connection, _asked, peer) = pair();
    (Plugin::new("10".to_owned(), "test".to_owned(), connection, LONG), peer)
}

/// Answers calls as `answer` says until the plugin's work is done; gives the methods that were called.
async fn with<T>(
    work: impl Future<Output = T>,
    mut peer: Peer,
    mut answer: impl FnMut(&Request) -> Result<Vec<u8>, i32>,
) -> (T, Vec<String>) {
    let mut called = Vec::new();
    let serve = async {
        loop {
            let message = peer.receive().await;
            let request = Request::decode(message.payload).unwrap();
            called.push(request.method.clone());
            let response = match answer(&request) {
                Ok(payload) => Response { status: None, payload },
                Err(code) => {
                    Response { status: Some(Status { code, message: String::new() }), payload: Vec::new() }
                }
            };
            peer.send(PLUGIN_SERVICE, Kind::Response, message.stream, &response.encode_to_vec()).await;
        }
    };
    let done = tokio::select! {
        done = work => done,
        () = serve => unreachable!("it serves for ever"),
    };
    (done, called)
}

#[test]
fn names_are_two_digits_and_plain_letters() {
    assert!(check_name("00", "a.b_c+d-e1").is_ok());
    for (index, base) in
        [("1", "a"), ("100", "a"), ("ab", "a"), ("10", ""), ("10", "a b"), ("10", "a/b"), ("١0", "a")]
    {
        assert!(check_name(index, base).is_err(), "{index} {base}");
    }
}

#[tokio::test]
async fn events_are_those_asked_for_and_all_if_none_are() {
    let check = async |events: i32, expected: Option<i32>| {
        let (plugin, peer) = plugin();
        let deadlines = Deadlines { registration: LONG, request: LONG };
        let (configured, _) = with(plugin.configure(String::new(), deadlines), peer, |_| {
            Ok(ConfigureResponse { events }.encode_to_vec())
        })
        .await;
        match expected {
            Some(expected) => {
                configured.unwrap();
                assert_eq!(plugin.events.into_inner(), expected);
            }
            None => assert!(matches!(configured, Err(Error::Refused { .. })), "{configured:?}"),
        }
    };
    check(0, Some(ALL_EVENTS)).await;
    check(5, Some(5)).await;
    check(1 << 20, None).await;
    check(-1, None).await;
}

fn containers(count: usize) -> Vec<Container> {
    let container = |number| Container {
        id: format!("{number}"),
        args: vec!["x".repeat(100_000)],
        ..Container::default()
    };
    (0..count).map(container).collect()
}

#[tokio::test]
async fn what_does_not_fit_into_one_message_comes_in_parts_and_each_object_once() {
    let (plugin, peer) = plugin();
    let pods =
        (0..3).map(|number| PodSandbox { id: format!("p{number}"), ..PodSandbox::default() }).collect();
    let (mut ids, mut parts) = (Vec::new(), 0);
    let (updates, _) = with(plugin.synchronize(pods, containers(100)), peer, |request| {
        let part = SynchronizeRequest::decode(&*request.payload).unwrap();
        parts += 1;
        ids.extend(part.pods.iter().map(|pod| pod.id.clone()));
        ids.extend(part.containers.iter().map(|container| container.id.clone()));
        let update = if part.more { Vec::new() } else { vec![ContainerUpdate::default()] };
        Ok(SynchronizeResponse { update, more: part.more }.encode_to_vec())
    })
    .await;
    assert_eq!(updates.unwrap(), [ContainerUpdate::default()]);
    assert!(parts > 1);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 103);
}

#[tokio::test]
async fn a_plugin_that_takes_no_parts_is_told_so() {
    let (plugin, peer) = plugin();
    let (updates, _) = with(plugin.synchronize(Vec::new(), containers(100)), peer, |_| {
        Ok(SynchronizeResponse::default().encode_to_vec())
    })
    .await;
    assert!(matches!(updates, Err(Error::Refused { .. })), "{updates:?}");
    let (plugin, peer) = self::plugin();
    let huge = vec![Container { args: vec!["x".repeat(5 << 20)], ..Container::default() }];
    let (updates, called) = with(plugin.synchronize(Vec::new(), huge), peer, |_| Ok(Vec::new())).await;
    assert!(matches!(updates, Err(Error::Plugin { .. })) && called.is_empty(), "{updates:?}");
}

#[tokio::test]
async fn plugins_of_the_first_versions_hear_by_state_change() {
    let (plugin, peer) = plugin();
    plugin.events.store(ALL_EVENTS, std::sync::atomic::Ordering::Relaxed);
    let (request, change) = (
        RunPodSandboxRequest::default(),
        StateChangeEvent { event: Event::RunPodSandbox.into(), ..StateChangeEvent::default() },
    );
    let twice = async {
        plugin.notify("RunPodSandbox", &request, &change).await.unwrap();
        plugin.notify("RunPodSandbox", &request, &change).await.unwrap();
    };
    let ((), called) =
        with(twice, peer, |request| if request.method == "StateChange" { Ok(Vec::new()) } else { Err(12) })
            .await;
    assert_eq!(called, ["RunPodSandbox", "StateChange", "StateChange"]);
}

#[tokio::test]
async fn an_answer_that_is_no_message_is_nonsense_and_has_no_say() {
    let (plugin, peer) = plugin();
    plugin.events.store(ALL_EVENTS, std::sync::atomic::Ordering::Relaxed);
    let request = RunPodSandboxRequest::default();
    let relayed = plugin.relay::<_, SynchronizeResponse>(Event::CreateContainer, "CreateContainer", &request);
    let (answer, _) = with(relayed, peer, |_| Ok(vec![0xff; 9])).await;
    assert!(matches!(answer, Ok(None)), "{answer:?}");
    assert!(!plugin.is_connected());
}
