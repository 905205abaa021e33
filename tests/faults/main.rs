//! Kills the daemon, its monitors and the programs they call, at random instants under a churn of pods, and looks after each blow
//! whether everything is as it may be.
//!
//! `linkspan-faults [--rounds 150] [--workers 5] [--remove-all-every 10] [--only FAULT] [--points false]`
//!
//! The node is its own (`linkspan_tests::node`): the binary makes it, starts the daemon and starts it again. All choices come
//! from `LINKSPAN_FAULTS_SEED`, which is printed; when things happen is the machine's to choose.
//!
//! With `--points true`, on programs that are built with the feature `crash-points`, the named instants of the daemon and the monitor
//! follow, each once (`points.rs`).
//!
//! ```text
//! round: workers churn (churn.rs) ─── a blow (strike.rs) ─── a while on ─── look (look.rs, processes.rs)
//!                                                                             │
//!        each call's answer ─▶ model.rs, where the rules are written down ◀── check.rs: until it fits, or not
//! ```
// A round is one future, however long.
#![allow(clippy::large_futures)]

mod check;
mod churn;
mod foreign;
mod look;
mod model;
mod points;
mod processes;
#[path = "../../fuzz/random.rs"]
mod random;
mod strike;
mod tally;
mod weather;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{requests, tools};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::check::Checker;
use crate::churn::Worker;
use crate::foreign::Foreign;
use crate::points::Points;
use crate::random::Random;
use crate::strike::Fault;
use crate::tally::Tally;
use crate::weather::Weather;

const SEED: &str = "LINKSPAN_FAULTS_SEED";
/// Between a round's beginning and its blow at most.
const LONGEST_CALM_MS: u64 = 600;
/// Between a blow and the round's end at most.
const LONGEST_AFTER_MS: u64 = 300;
/// The log is begun anew, when nothing was wrong so far, beyond this.
const LONGEST_LOG_BYTES: u64 = 64 << 20;
const LOG_LINES: usize = 120;

struct Plan {
    rounds: u64,
    workers: usize,
    remove_all_every: u64,
    points: bool,
    /// One of them in each round.
    faults: Vec<Fault>,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan =
        Plan { rounds: 150, workers: 5, remove_all_every: 10, points: false, faults: Fault::ALL.to_vec() };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--rounds" => plan.rounds = value.parse()?,
            "--workers" => plan.workers = value.parse()?,
            "--remove-all-every" => plan.remove_all_every = value.parse()?,
            "--only" => plan.faults = vec![Fault::named(&value).with_context(|| format!("--only {value}"))?],
            "--points" => plan.points = value.parse()?,
            _ => bail!("unknown flag {flag}"),
        }
    }
    ensure!(plan.workers > 0 && plan.remove_all_every > 0, "at least one of each");
    Ok(plan)
}

fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.parse().with_context(|| format!("{SEED}={text}")),
        Err(_) => {
            let mut bytes = [0; 8];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
            Ok(u64::from_ne_bytes(bytes))
        }
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let plan = parse(std::env::args().skip(1))?;
    let seed = seed()?;
    println!("{SEED}={seed}");
    let runtimes = vec![("crun".to_owned(), tools::crun())];
    let mut node = Node::start(Options { runtimes, ..Options::default() }).await?;
    node.pull(requests::BUSYBOX).await.context("pulling the image")?;
    let mut harness = Harness::new(&node, &plan, seed)?;
    let begun = Instant::now();
    // Whoever ends this is left a clean machine too: the node clears itself away.
    let outcome = tokio::select! {
        outcome = harness.run(&mut node, &plan) => outcome,
        signal = ending() => signal.and_then(|signal| bail!("ended by {signal}")),
    };
    harness.tally.print(&harness.workers, &harness.checker, begun.elapsed());
    if let Err(violation) = outcome {
        println!("VIOLATION in round {} of {}: {violation:#}", harness.round, plan.rounds);
        println!("{SEED}={seed}, the blow fell on: {}", harness.struck);
        println!("--- the end of the daemon's log ---\n{}", end_of(&node.prefix().join("daemon.log")));
        keep_log(&node);
        return Ok(ExitCode::FAILURE);
    }
    harness.foreign.remove()?;
    node.finish().await?;
    println!("0 wrong states, 0 leaks");
    Ok(ExitCode::SUCCESS)
}

/// Waits for whoever ends this process.
async fn ending() -> Result<&'static str> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminated.recv() => Ok("SIGTERM"),
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted.map(|()| "SIGINT")?),
    }
}

struct Harness {
    seed: u64,
    random: Random,
    weather: Arc<Weather>,
    workers: Vec<Worker>,
    checker: Checker,
    foreign: Foreign,
    tally: Tally,
    round: u64,
    struck: String,
}

impl Harness {
    fn new(node: &Node, plan: &Plan, seed: u64) -> Result<Harness> {
        let template = requests::sandbox(node, "faults");
        Ok(Harness {
            seed,
            random: Random(seed),
            weather: Arc::new(Weather::new(node.runtime.clone())),
            workers: (0..plan.workers).map(|number| Worker::new(number, template.clone())).collect(),
            checker: Checker::default(),
            foreign: Foreign::place(node)?,
            tally: Tally::default(),
            round: 0,
            struck: "nobody".to_owned(),
        })
    }

    async fn run(&mut self, node: &mut Node, plan: &Plan) -> Result<()> {
        for round in 1..=plan.rounds {
            self.round = round;
            self.one_round(node, plan).await?;
            if round.is_multiple_of(plan.remove_all_every) || round == plan.rounds {
                let removed =
                    self.checker.remove_all(node, &self.weather, &mut self.workers, &self.foreign).await;
                removed.context("removing everything")?;
                shorten(&node.prefix().join("daemon.log"))?;
            }
        }
        if plan.points { self.points(node).await } else { Ok(()) }
    }

    async fn points(&mut self, node: &mut Node) -> Result<()> {
        for name in points::names() {
            self.struck = format!("the process that came to {name}");
            let (workers, checker) = (&mut self.workers, &mut self.checker);
            let mut points = Points { weather: &self.weather, workers, checker, foreign: &self.foreign };
            let walked = points.walk_to(node, name, self.random.next()).await;
            walked.with_context(|| format!("the crash point {name}"))?;
            self.tally.points += 1;
        }
        Ok(())
    }

    async fn one_round(&mut self, node: &mut Node, plan: &Plan) -> Result<()> {
        let fault = plan.faults[(self.random.next() % plan.faults.len() as u64) as usize];
        let mut struck_by = Random(self.random.next());
        self.weather.begin_round();
        let mut churning = JoinSet::new();
        for (number, mut worker) in std::mem::take(&mut self.workers).into_iter().enumerate() {
            let round = self.round << 8 | number as u64;
            worker.random = Random(self.seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            churning.spawn(worker.churn(self.weather.clone()));
        }
        tokio::time::sleep(Duration::from_millis(struck_by.next() % LONGEST_CALM_MS)).await;
        let struck = strike::strike(fault, node, &self.weather, &mut struck_by).await;
        if let Ok(struck) = &struck {
            self.tally.note(fault, struck.is_some());
            self.checker.plugin_killed |= fault == Fault::PluginCall && struck.is_some();
            self.struck = struck.clone().unwrap_or_else(|| format!("nobody; {} was meant", fault.name()));
            println!("round {}: killed {}", self.round, self.struck);
        }
        tokio::time::sleep(Duration::from_millis(struck_by.next() % LONGEST_AFTER_MS)).await;
        self.weather.end_round();
        let mut wrong = Vec::new();
        while let Some(churned) = churning.join_next().await {
            let (worker, outcome) = churned?;
            self.workers.push(worker);
            wrong.extend(outcome.err().map(|error| format!("{error:#}")));
        }
        struck?;
        ensure!(wrong.is_empty(), "\n  {}", wrong.join("\n  "));
        self.workers.sort_by_key(Worker::number);
        self.checker.check(node, &self.weather, &mut self.workers, &self.foreign).await
    }
}

/// Without the checker's own questions.
fn end_of(log: &Path) -> String {
    const QUESTIONS: [&str; 4] = ["ListPodSandbox", "PodSandboxStatus", "ListContainers", "ContainerStatus"];
    let text = fs::read_to_string(log).unwrap_or_default();
    let asks = |line: &str| QUESTIONS.iter().any(|rpc| line.contains(&format!("rpc{{rpc=\"{rpc}\"")));
    let lines: Vec<&str> = text.lines().filter(|line| !asks(line)).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Where `contrib/test` keeps its logs.
fn keep_log(node: &Node) {
    let Some(folder) = std::env::var_os("LINKSPAN_RESULTS") else { return };
    let to = Path::new(&folder).join("faults-daemon.log");
    if fs::copy(node.prefix().join("daemon.log"), &to).is_ok() {
        println!("the whole log: {}", to.display());
    }
}

/// The daemon appends to it.
fn shorten(log: &Path) -> Result<()> {
    if fs::metadata(log)?.len() > LONGEST_LOG_BYTES {
        fs::File::options().write(true).open(log)?.set_len(0)?;
    }
    Ok(())
}
