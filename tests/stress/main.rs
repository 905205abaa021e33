//! Many sessions, some cut in the middle, and what they leave of descriptors, threads, processes and memory.
//!
//! `linkspan-stress --socket SOCKET --prefix FOLDER [--metrics ADDRESS] [--exec 1000] [--attach 200] [--forward 1000] [--parallel 20] [--downloads 200]
//! [--hostile-s 300] [--hostile-sessions 1000] [--judge-time true] [--pods 300] [--sessions 500] [--cri-fuzz-s 600 --cgroup NAME]`
//!
//! Most sessions are WebSockets of our own client; some of each kind are crictl's, by SPDY and by WebSocket. Before the
//! first count, a tenth of all runs as a rehearsal, so that what is built once is not taken for a leak.
//!
//! Then, unless it is 0: sessions of somebody who means ill, for so many seconds (`hostile.rs`), many pods and sessions that
//! are open at the same time (`many.rs`), and arbitrary messages of CRI, for so many seconds (`cri_fuzz.rs`).
// A session is one future, however long.
#![allow(clippy::large_futures)]

mod counts;
mod cri_fuzz;
mod hostile;
mod many;
mod neighbour;
mod pods;
mod sessions;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use linkspan_tests::streaming::Forwarding;
use linkspan_tests::{client, http, wait};
use rustix::process::{Resource, Rlimit};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::counts::Counts;
use crate::pods::{FILES, Pods};

const SETTLE: Duration = Duration::from_secs(90);

/// How many of each.
struct Plan {
    socket: PathBuf,
    prefix: PathBuf,
    /// Address of the daemon's metrics; if it is empty, they are not looked at.
    metrics: String,
    exec: usize,
    attach: usize,
    forward: usize,
    parallel: usize,
    downloads: usize,
    hostile_s: u64,
    hostile_sessions: usize,
    /// The sandbox and the container that sessions of this process are to be hostile to; it does nothing else then.
    attack: String,
    victim: String,
    /// Whether the machine has nothing else to do, so that times mean something.
    judge_time: bool,
    /// At the same time.
    pods: usize,
    sessions: usize,
    cri_fuzz_s: u64,
    /// The daemon's, below which groups of pods may be asked for.
    cgroup: String,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan {
        socket: PathBuf::new(),
        prefix: PathBuf::new(),
        metrics: String::new(),
        exec: 1000,
        attach: 200,
        forward: 1000,
        parallel: 20,
        downloads: 200,
        hostile_s: 300,
        hostile_sessions: 1000,
        attack: String::new(),
        victim: String::new(),
        judge_time: false,
        pods: 300,
        sessions: 500,
        cri_fuzz_s: 600,
        cgroup: String::new(),
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--socket" => plan.socket = value.into(),
            "--prefix" => plan.prefix = value.into(),
            "--metrics" => plan.metrics = value,
            "--exec" => plan.exec = value.parse()?,
            "--attach" => plan.attach = value.parse()?,
            "--forward" => plan.forward = value.parse()?,
            "--parallel" => plan.parallel = value.parse()?,
            "--downloads" => plan.downloads = value.parse()?,
            "--hostile-s" => plan.hostile_s = value.parse()?,
            "--hostile-sessions" => plan.hostile_sessions = value.parse()?,
            "--attack" => plan.attack = value,
            "--victim" => plan.victim = value,
            "--judge-time" => plan.judge_time = value.parse()?,
            "--pods" => plan.pods = value.parse()?,
            "--sessions" => plan.sessions = value.parse()?,
            "--cri-fuzz-s" => plan.cri_fuzz_s = value.parse()?,
            "--cgroup" => plan.cgroup = value,
            _ => bail!("unknown flag {flag}"),
        }
    }
    ensure!(!plan.socket.as_os_str().is_empty(), "no --socket");
    ensure!(!plan.prefix.as_os_str().is_empty(), "no --prefix");
    ensure!(plan.cri_fuzz_s == 0 || !plan.attack.is_empty() || !plan.cgroup.is_empty(), "no --cgroup");
    Ok(plan)
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = parse(std::env::args().skip(1))?;
    // The daemon may have been given few; this side of the sessions needs as many.
    let open_files = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(
        Resource::Nofile,
        Rlimit { current: open_files.maximum, maximum: open_files.maximum },
    )?;
    if !plan.attack.is_empty() {
        return hostile::attack_only(&plan).await;
    }
    let (runtime, images) = client::connect(&plan.socket).await?;
    let pods = Pods::start(&plan.socket, runtime, images).await?;
    let outcome = all(&plan, &pods).await;
    let removed = pods.remove().await;
    outcome.and(removed)
}

async fn all(plan: &Plan, pods: &Pods) -> Result<()> {
    if plan.exec + plan.attach + plan.forward + plan.downloads > 0 {
        stress(plan, pods).await?;
    }
    if plan.hostile_s > 0 {
        hostile::run(plan, pods).await?;
    }
    if plan.pods > 0 {
        many::run(plan, pods).await?;
    }
    if plan.cri_fuzz_s > 0 {
        cri_fuzz::run(plan, pods).await?;
    }
    Ok(())
}

async fn stress(plan: &Plan, pods: &Pods) -> Result<()> {
    round(plan, pods, 10).await.context("rehearsal")?;
    let (before, processes) = (settled(plan, None).await?, pods.processes().await?);
    println!("before  {before}, {processes} processes in containers");
    round(plan, pods, 1).await?;
    let after = settled(plan, Some(&before)).await?;
    println!("after   {after}");
    wait::until("the containers' processes", SETTLE, async || {
        let now = pods.processes().await?;
        ensure!(now <= processes, "{now} processes in containers");
        Ok(())
    })
    .await
}

/// One round of everything, or of a part of it.
async fn round(plan: &Plan, pods: &Pods, part: usize) -> Result<()> {
    let kinds: [(&str, usize, sessions::Kind); 3] = [
        ("exec sessions", plan.exec / part, sessions::Kind::Exec),
        ("attach sessions", plan.attach / part, sessions::Kind::Attach),
        ("port-forward connections", plan.forward / part, sessions::Kind::Forward),
    ];
    for (what, count, kind) in kinds {
        let begun = Instant::now();
        at_once(plan, pods, count, kind).await.with_context(|| what.to_owned())?;
        println!("{count} {what}, {} at once: {:.1} s", plan.parallel, begun.elapsed().as_secs_f64());
    }
    downloads(pods, plan.downloads / part).await
}

async fn at_once(plan: &Plan, pods: &Pods, count: usize, kind: sessions::Kind) -> Result<()> {
    let shared = Arc::new(sessions::Shared::start(pods, kind).await?);
    let permits = Arc::new(Semaphore::new(plan.parallel));
    let mut tasks = JoinSet::new();
    for number in 0..count {
        let (permits, shared) = (permits.clone(), shared.clone());
        tasks.spawn(async move {
            let _permit = permits.acquire().await?;
            sessions::run(kind, &shared, number).await.with_context(|| format!("number {number}"))
        });
    }
    let mut failures = Vec::new();
    while let Some(result) = tasks.join_next().await {
        if let Err(failure) = result? {
            failures.push(format!("{failure:#}"));
        }
    }
    let (count, first) = (failures.len(), failures.iter().take(5).cloned().collect::<Vec<_>>());
    ensure!(failures.is_empty(), "{count} failed:\n  {}", first.join("\n  "));
    Ok(())
}

/// All at once through one port-forward.
async fn downloads(pods: &Pods, count: usize) -> Result<()> {
    for transport in ["spdy", "websocket"] {
        let crictl = client::crictl(&pods.socket);
        let forwarding = Forwarding::start(crictl, transport, &pods.sandbox_id, 80).await?;
        let begun = Instant::now();
        let all = futures_util::future::join_all((0..count).map(|number| {
            let (address, number) = (&forwarding.address, number % FILES);
            async move {
                let bytes = http::download(address, &format!("/file-{number}")).await?;
                ensure!(bytes == pods::file(number), "file {number}: {} bytes that differ", bytes.len());
                anyhow::Ok(())
            }
        }));
        for download in all.await {
            download.with_context(|| format!("downloads by {transport}"))?;
        }
        let (megabytes, seconds) = ((count * pods::FILE_BYTES) as f64 / 1e6, begun.elapsed().as_secs_f64());
        println!(
            "{count} parallel downloads by {transport}: every byte right, {:.0} MB/s",
            megabytes / seconds
        );
    }
    Ok(())
}

/// The counts, once nothing is under way; if `before` is given, once they are as they were then.
async fn settled(plan: &Plan, before: Option<&Counts>) -> Result<Counts> {
    let metrics = Some(plan.metrics.as_str()).filter(|address| !address.is_empty());
    let mut last: Option<Counts> = None;
    let begun = Instant::now();
    let counts = wait::until("everything is as it was", SETTLE, async || {
        // Looked at from outside: to ask the daemon is work for it, which keeps its idle threads from ending.
        let now = Counts::take(&plan.socket, &plan.prefix, metrics).await?;
        ensure!(now.open_sessions == 0, "{} sessions are open", now.open_sessions);
        let steady = last.replace(now.clone()).is_some_and(|last| last == now);
        ensure!(steady || before.is_some(), "it is still changing: {now}");
        if let Some(before) = before {
            now.compare(before)?;
        }
        Ok(now)
    })
    .await?;
    println!("settled after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(counts)
}
