//! A tenant that may exec into one pod and forward ports of it, and means ill: so many sessions, the largest headers and
//! messages, and nothing is read. The daemon stays small and quick, and other pods notice nothing.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::client;
use linkspan_tests::streaming::{self, Channels, Spdy, Streams, channel};
use linkspan_tests::wait;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::counts::{self, Counts};
use crate::pods::Pods;
use crate::{Plan, neighbour};

/// Of the daemon, whatever sessions hold.
const MOST_RSS_KIB: u64 = 200 << 10;
/// Or as long as the slowest without an attack. On a machine that has nothing else to do; elsewhere it is told, and not judged.
const SLOWEST_LIST: Duration = Duration::from_millis(50);
/// What is not written within this time, the daemon does not read.
const STUCK: Duration = Duration::from_secs(2);
/// Before somebody who was refused tries again.
const PAUSE: Duration = Duration::from_secs(5);
/// A session of which it cannot be told that the daemon has ended it.
const HELD: Duration = Duration::from_secs(20);
/// The longest header blocks and messages that a daemon without bounds takes.
const LONG_HEADER: usize = 60_000;
const LONG_MESSAGE: usize = 31 << 20;

/// How the attack went.
#[derive(Debug, Default)]
struct Score {
    opened: AtomicUsize,
    refused: AtomicUsize,
}

pub(crate) async fn run(plan: &Plan, pods: &Pods) -> Result<()> {
    let daemon = counts::daemon(&plan.socket)?;
    let neighbour = neighbour::Neighbour::start(pods.runtime.clone(), "neighbour").await?;
    let metrics = Some(plan.metrics.as_str()).filter(|address| !address.is_empty());
    let before = Counts::take(&plan.socket, &plan.prefix, metrics).await?;
    // What the machine itself does to those who measure.
    let alone = watch(&neighbour, daemon, plan.hostile_s.div_ceil(3)).await?;
    println!("hostile: before: {alone}");
    let attack = elsewhere(plan, pods)?;
    let watched = watch(&neighbour, daemon, plan.hostile_s).await;
    let attack = attack.wait_with_output().await?;
    let score = String::from_utf8_lossy(&attack.stdout).trim().to_owned();
    let watched = watched?;
    let (sessions, seconds) = (plan.hostile_sessions, plan.hostile_s);
    println!("hostile: {sessions} sessions tried for {seconds} s: {score}; {watched}");
    ensure!(attack.status.success(), "the attack came to nothing: {score}");
    ensure!(watched.rss_most < MOST_RSS_KIB, "the daemon grew to {} MiB", watched.rss_most >> 10);
    if plan.judge_time {
        let (slowest, most) = (watched.slowest(), SLOWEST_LIST.max(alone.slowest()));
        ensure!(slowest < most, "a ListContainers took {slowest:?}, more than {most:?}");
    }
    wait::until("the attack's sessions end", Duration::from_secs(90), async || {
        let now = Counts::take(&plan.socket, &plan.prefix, metrics).await?;
        now.compare_without_memory(&before)
    })
    .await?;
    println!("hostile: daemon's RSS {} MiB after", counts::rss_kib(daemon)? >> 10);
    neighbour.remove().await
}

/// A process for the attackers, who are on another machine: what they compute and allocate takes neither the processor from the
/// daemon nor time from those who watch. [`step_aside`] is the other half of it.
fn elsewhere(plan: &Plan, pods: &Pods) -> Result<Child> {
    let mut command = Command::new("nice");
    command.args(["-n", "19"]).arg(std::env::current_exe()?);
    command.arg("--socket").arg(&plan.socket).arg("--prefix").arg(&plan.prefix);
    command.args(["--attack", &pods.sandbox_id, "--victim", &pods.shell]);
    command.args(["--hostile-s", &plan.hostile_s.to_string()]);
    command.args(["--hostile-sessions", &plan.hostile_sessions.to_string()]);
    command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("starting the attackers")
}

/// The kernel shares the processors among sessions before it looks at the niceness of what is in them (sched(7), "The autogroup
/// feature"): in the daemon's session, the attackers' share would be the daemon's.
fn step_aside() -> Result<()> {
    rustix::process::setsid().context("a session of the attackers' own")?;
    match std::fs::write("/proc/self/autogroup", "19") {
        // A kernel without it goes by niceness.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        written => written.context("writing /proc/self/autogroup"),
    }
}

/// What the other process does.
pub(crate) async fn attack_only(plan: &Plan) -> Result<()> {
    step_aside()?;
    let (runtime, _) = client::connect(&plan.socket).await?;
    let score = Arc::new(Score::default());
    let mut attackers = JoinSet::new();
    for number in 0..plan.hostile_sessions {
        let victim = Victim {
            runtime: runtime.clone(),
            sandbox_id: plan.attack.clone(),
            container_id: plan.victim.clone(),
        };
        attackers.spawn(attack(victim, number, score.clone()));
    }
    sleep(Duration::from_secs(plan.hostile_s)).await;
    let opened = score.opened.load(Ordering::Relaxed);
    println!("{opened} opened, {} refused", score.refused.load(Ordering::Relaxed));
    ensure!(opened > 0, "no session was ever opened");
    // Sessions end with the process.
    std::process::exit(0)
}

struct Watched {
    rss_most: u64,
    /// How long each took, the slowest last.
    lists: Vec<Duration>,
    probes: usize,
}

impl Watched {
    fn slowest(&self) -> Duration {
        self.lists.last().copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Watched { rss_most, lists, probes } = self;
        let (median, slow) = (lists[lists.len() / 2], lists[lists.len() * 99 / 100]);
        write!(
            f,
            "daemon's RSS {} MiB at most; {} ListContainers: median {median:.1?}, ",
            rss_most >> 10,
            lists.len()
        )?;
        write!(f, "99 of 100 within {slow:.1?}, slowest {:.1?}; {probes} probes passed", self.slowest())
    }
}

/// What others see while it goes on.
async fn watch(neighbour: &neighbour::Neighbour, daemon: i32, seconds: u64) -> Result<Watched> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let rss = async {
        let mut most = 0;
        while Instant::now() < end {
            most = counts::rss_kib(daemon)?.max(most);
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(most)
    };
    let lists = async {
        let (mut runtime, mut took) = (neighbour.runtime.clone(), Vec::new());
        while Instant::now() < end {
            let begun = Instant::now();
            runtime.list_containers(v1::ListContainersRequest::default()).await?;
            took.push(begun.elapsed());
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(took)
    };
    let probes = async {
        let mut passed = 0;
        while Instant::now() < end {
            neighbour.probe().await.context("a probe of another pod")?;
            neighbour.session(passed).await.context("a session of another pod")?;
            passed += 1;
            sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(passed)
    };
    let (rss_most, mut lists, probes) = tokio::try_join!(rss, lists, probes)?;
    lists.sort_unstable();
    Ok(Watched { rss_most, lists, probes })
}

/// Whom the attack is on.
struct Victim {
    runtime: client::Runtime,
    sandbox_id: String,
    container_id: String,
}

/// Comes again and again, until it is aborted.
async fn attack(mut victim: Victim, number: usize, score: Arc<Score>) {
    loop {
        let refused = match number % 8 {
            0 => headers(&mut victim, LONG_HEADER, &score).await,
            1 => headers(&mut victim, 250, &score).await,
            2 => downloads(&mut victim, &score).await,
            3 => output(&mut victim, &score).await,
            4 => input(&mut victim, &score).await,
            5 => messages(&mut victim, LONG_MESSAGE, &score).await,
            6 => messages(&mut victim, 1 << 20, &score).await,
            _ => tunnel(&mut victim, &score).await,
        };
        // However it ended: told off, cut off, or never let in.
        if refused.is_err() {
            score.refused.fetch_add(1, Ordering::Relaxed);
        }
        sleep(PAUSE).await;
    }
}

impl Score {
    fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }
}

/// Halves of connections, each named at length. Held until the daemon has had enough of it.
async fn headers(victim: &mut Victim, length: usize, score: &Score) -> Result<()> {
    let mut session = forward(victim, score).await?;
    let name = "a".repeat(length);
    for number in 0..4096 {
        let (request, other) = (format!("{name}{number}"), "b".repeat(length.min(4000)));
        let headers = [("streamtype", "data"), ("port", "80"), ("requestid", &request), ("other", &other)];
        if timeout(STUCK, session.stream(&headers)).await.is_err() {
            break;
        }
    }
    hold(&session.connection).await
}

/// Large files, of which nothing is read.
async fn downloads(victim: &mut Victim, score: &Score) -> Result<()> {
    let mut session = forward(victim, score).await?;
    for number in 0..500 {
        let request = number.to_string();
        let asked = async {
            let headers = |kind| [("streamtype", kind), ("port", "80"), ("requestid", request.as_str())];
            session.stream(&headers("error")).await?;
            let data = session.stream(&headers("data")).await?;
            let path = format!("GET /file-{} HTTP/1.0\r\n\r\n", number % crate::pods::FILES);
            session.send(data, path.as_bytes(), false).await
        };
        match timeout(STUCK, asked).await {
            Err(_) => break,
            Ok(asked) => asked?,
        }
    }
    hold(&session.connection).await
}

async fn forward(victim: &mut Victim, score: &Score) -> Result<Spdy> {
    let url = streaming::port_forward_url(&mut victim.runtime, &victim.sandbox_id, &[]).await?;
    let session = Spdy::open(&url, "portforward.k8s.io").await?;
    score.opened();
    Ok(session)
}

/// What a command says without end.
async fn output(victim: &mut Victim, score: &Score) -> Result<()> {
    let session = exec(victim, &["yes", "a line of some length, over and over again"], score).await?;
    sleep(HELD).await;
    drop(session);
    Ok(())
}

/// Input that a command does not read, by SPDY.
async fn input(victim: &mut Victim, score: &Score) -> Result<()> {
    let streams = Streams { stdin: true, stdout: true, stderr: false, tty: false };
    let url =
        streaming::exec_url(&mut victim.runtime, &victim.container_id, &["sleep", "7000"], streams).await?;
    let mut session = Spdy::open(&url, "v4.channel.k8s.io").await?;
    score.opened();
    session.stream(&[("streamtype", "error")]).await?;
    let stdin = session.stream(&[("streamtype", "stdin")]).await?;
    session.stream(&[("streamtype", "stdout")]).await?;
    let bytes = vec![b'x'; 1 << 20];
    while let Ok(sent) = timeout(STUCK, session.send(stdin, &bytes, false)).await {
        sent?;
    }
    hold(&session.connection).await
}

/// Input in messages of such a length, that a command does not read.
async fn messages(victim: &mut Victim, length: usize, score: &Score) -> Result<()> {
    let mut session = exec(victim, &["sleep", "7000"], score).await?;
    let message = vec![b'x'; length];
    while let Ok(sent) = timeout(STUCK, session.send(channel::STDIN, &message)).await {
        sent?;
    }
    sleep(HELD).await;
    drop(session);
    Ok(())
}

async fn exec(victim: &mut Victim, command: &[&str], score: &Score) -> Result<Channels> {
    let url = streaming::exec_url(&mut victim.runtime, &victim.container_id, command, Streams::ALL).await?;
    let session = Channels::open(&url, "v5.channel.k8s.io").await?;
    score.opened();
    Ok(session)
}

/// A message that never ends, where SPDY is expected in a WebSocket.
async fn tunnel(victim: &mut Victim, score: &Score) -> Result<()> {
    let url = streaming::port_forward_url(&mut victim.runtime, &victim.sandbox_id, &[]).await?;
    let mut answer = streaming::upgrade(&url, &["SPDY/3.1+portforward.k8s.io"]).await?;
    ensure!(answer.status == 101, "status {}", answer.status);
    score.opened();
    // A binary message of so many bytes, whose mask is zero (RFC 6455, section 5.2).
    let mut head = vec![0x82, 0xff];
    head.extend((LONG_MESSAGE as u64).to_be_bytes());
    head.extend([0; 4]);
    answer.connection.write_all(&head).await?;
    let part = vec![0; 1 << 20];
    // All but the last part.
    for _ in 0..(LONG_MESSAGE >> 20) - 1 {
        match timeout(STUCK, answer.connection.write_all(&part)).await {
            Err(_) => break,
            Ok(sent) => sent?,
        }
    }
    hold(&answer.connection).await
}

/// Reads nothing, until the daemon ends it.
async fn hold(connection: &tokio::net::TcpStream) -> Result<()> {
    loop {
        sleep(Duration::from_secs(1)).await;
        // Told by the kernel, without reading what came.
        let mut polled = [PollFd::new(connection, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if rustix::event::poll(&mut polled, Some(&now))? > 0 {
            return Ok(());
        }
    }
}
