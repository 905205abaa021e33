//! Many pods and open sessions at the same time, on a daemon that was given few open files.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use linkspan_cri_api::v1;

use crate::Plan;
use crate::counts;
use crate::neighbour::Neighbour;
use crate::pods::Pods;

/// Calls under way at a time.
const AT_ONCE: usize = 8;

pub(crate) async fn run(plan: &Plan, pods: &Pods) -> Result<()> {
    let begun = Instant::now();
    let starting = (0..plan.pods).map(|number| {
        let runtime = pods.runtime.clone();
        async move { Neighbour::start(runtime, &format!("many-{number}")).await }
    });
    let mut all: Vec<Neighbour> =
        stream::iter(starting).buffer_unordered(AT_ONCE).try_collect().await.context("starting a pod")?;
    println!("{} pods run after {:.1} s", all.len(), begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    let opening = (0..plan.sessions).map(|number| {
        let pod = &all[number % all.len()];
        async move {
            let mut session = pod.exec(&["cat"]).await?;
            session.write(&format!("number {number}\n")).await?;
            session.expect(&format!("number {number}")).await?;
            anyhow::Ok(session)
        }
    });
    let sessions: Vec<_> =
        stream::iter(opening).buffer_unordered(AT_ONCE).try_collect().await.context("opening a session")?;
    let descriptors = counts::descriptors(counts::daemon(&plan.socket)?);
    println!(
        "{} exec sessions are open after {:.1} s: the daemon holds {descriptors} descriptors",
        sessions.len(),
        begun.elapsed().as_secs_f64()
    );
    let one_more = Neighbour::start(pods.runtime.clone(), "one-more").await.context("one more pod")?;
    one_more.probe().await.context("a probe of one more pod")?;
    all.push(one_more);
    let list = pods.runtime.clone().list_containers(v1::ListContainersRequest::default()).await?.into_inner();
    let running = v1::ContainerState::ContainerRunning;
    let running = list.containers.iter().filter(|container| container.state() == running).count();
    ensure!(running > plan.pods, "{running} containers run");
    for mut session in sessions {
        session.end_input().await?;
        let ended = session.end().await?;
        ensure!(ended.exit_code() == Some(0), "{ended:?}");
    }
    stream::iter(all.into_iter().map(Neighbour::remove))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .context("removing a pod")
}
