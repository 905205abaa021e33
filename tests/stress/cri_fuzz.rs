//! Messages of CRI, valid on the wire and otherwise arbitrary, to every RPC of a running daemon: each is answered in time, by
//! success or by an error that says what it is about; nothing panics, and nothing is left when all pods are gone.
//!
//! Half of the messages are good ones with arbitrary fields behind them, which protobuf merges. What names something of the host
//! comes from a vocabulary of things that are this run's own (`cri_fuzz/words.rs`).

#[path = "../../fuzz/random.rs"]
mod random;
#[path = "../../fuzz/structure.rs"]
mod structure;
mod words;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, BufMut, Bytes};
use linkspan_cri_api::{FILE_DESCRIPTOR_SET, RPCS, Rpc, v1};
use linkspan_tests::{client, leftovers, requests, wait};
use prost::Message;
use random::Random;
use structure::{Choices, Protocol};
use tokio::time::timeout;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::Plan;
use crate::counts::{self, Counts};
use crate::pods::Pods;
use words::Words;

/// Longer than any of the calls here has a reason to take, on a loaded machine.
const ANSWER: Duration = Duration::from_secs(120);
/// A stream of events has no end of its own.
const STREAM: Duration = Duration::from_millis(300);
const SETTLE: Duration = Duration::from_secs(90);
const CALLERS: u64 = 4;
const MOST_SANDBOXES: usize = 12;
/// A daemon that has seen every kind of request once may have grown by so much, in KiB.
const MOST_GROWTH_KIB: u64 = 16 << 10;

/// How often each RPC is called, where that is more than once in a round.
const OFTEN: [(&str, usize); 9] = [
    ("RunPodSandbox", 4),
    ("CreateContainer", 10),
    ("StartContainer", 8),
    ("StopContainer", 2),
    ("RemoveContainer", 3),
    ("RemovePodSandbox", 2),
    ("ExecSync", 4),
    ("UpdateContainerResources", 4),
    ("PullImage", 2),
];

/// What all callers share.
struct Shared {
    channel: Channel,
    cri: Protocol,
    /// The pods' logs, volumes and checkpoints.
    dir: PathBuf,
    cgroup: String,
    ports: [u16; 2],
    seed: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sandboxes: Vec<String>,
    containers: Vec<String>,
    /// RPC and code, and how many answers.
    answers: BTreeMap<(&'static str, String), usize>,
    /// Errors that do not say what they are about.
    unnamed: BTreeMap<String, String>,
    /// What is called the node's fault, for whoever reads the report.
    internal: Vec<String>,
}

pub(crate) async fn run(plan: &Plan, pods: &Pods) -> Result<()> {
    let seed = std::env::var("LINKSPAN_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) << 32 | u64::from(rand_of_clock()));
    println!("cri-fuzz: LINKSPAN_FUZZ_SEED={seed}");
    let dir = plan.prefix.join("fuzz");
    for folder in ["logs", "volumes/a", "checkpoints"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    fs::write(dir.join("volumes/file"), "a file")?;
    let shared = Arc::new(Shared {
        channel: client::channel(&plan.socket).await?,
        cri: Protocol::new(FILE_DESCRIPTOR_SET),
        dir,
        cgroup: plan.cgroup.clone(),
        ports: free_ports()?,
        seed,
        state: Mutex::default(),
    });
    let outcome = fuzz(plan, pods, &shared).await;
    let cleared = match shared.clear(pods).await {
        Ok(()) => remove_parents(&format!("{}-fuzz", plan.cgroup)),
        kept => kept,
    };
    outcome.and(cleared)?;
    Ok(fs::remove_dir_all(&shared.dir)?)
}

async fn fuzz(plan: &Plan, pods: &Pods, shared: &Arc<Shared>) -> Result<()> {
    // What is built once is no leak.
    round(shared, Duration::from_secs((plan.cri_fuzz_s / 10).max(5)), 0).await.context("rehearsal")?;
    shared.clear(pods).await?;
    let daemon = counts::daemon(&plan.socket)?;
    let before = settled(plan).await?;
    let (rss_before, begun) = (counts::rss_kib(daemon)?, Instant::now());
    round(shared, Duration::from_secs(plan.cri_fuzz_s), 1).await?;
    let lasted = begun.elapsed().as_secs();
    shared.clear(pods).await?;
    shared.report(lasted)?;
    wait::until("nothing of the fuzzer's pods is held", SETTLE, async || {
        let now = Counts::take(&plan.socket, &plan.prefix, None).await?;
        now.compare_without_memory(&before)
    })
    .await?;
    let rss_after = counts::rss_kib(daemon)?;
    println!("cri-fuzz: daemon's RSS {} MiB before, {} MiB after", rss_before >> 10, rss_after >> 10);
    ensure!(rss_after < rss_before + MOST_GROWTH_KIB, "the daemon grew from {rss_before} to {rss_after} KiB");
    let log = fs::read_to_string(plan.prefix.join("daemon.log")).unwrap_or_default();
    let panics: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
    ensure!(panics.is_empty(), "the daemon panicked:\n{}", panics.join("\n"));
    Ok(())
}

/// The groups that requests named as parents are the caller's, as they are the kubelet's. Nothing may be in them any more.
fn remove_parents(name: &str) -> Result<()> {
    for group in leftovers::cgroups(name) {
        let own = group
            .file_name()
            .is_some_and(|last| words::PARENTS.iter().any(|parent| last == *parent) || last == name);
        ensure!(own, "cgroup {} is left", group.display());
        fs::remove_dir(&group).with_context(|| format!("removing cgroup {}", group.display()))?;
    }
    Ok(())
}

/// The counts, once two looks see the same.
async fn settled(plan: &Plan) -> Result<Counts> {
    let mut last: Option<Counts> = None;
    wait::until("the daemon to rest", SETTLE, async || {
        let now = Counts::take(&plan.socket, &plan.prefix, None).await?;
        let is_steady =
            last.replace(now.clone()).is_some_and(|last| last.compare_without_memory(&now).is_ok());
        ensure!(is_steady, "it is still changing: {now}");
        Ok(now)
    })
    .await
}

async fn round(shared: &Arc<Shared>, lasts: Duration, number: u64) -> Result<()> {
    let until = Instant::now() + lasts;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let shared = shared.clone();
        let mut random =
            Random(shared.seed ^ (number * CALLERS + caller + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        callers.spawn(async move {
            while Instant::now() < until {
                shared.call(&mut random).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    Ok(())
}

impl Shared {
    /// One call of one RPC.
    async fn call(&self, random: &mut Random) -> Result<()> {
        let crowded = self.state().sandboxes.len() > MOST_SANDBOXES;
        let rpc = if crowded { find("RemovePodSandbox")? } else { random.rpc() };
        let bytes = random.choices();
        let words = Words::new(self, random.next());
        let mut wire =
            if random.next().is_multiple_of(2) || crowded { base(rpc.name, &words) } else { Vec::new() };
        if !crowded {
            wire.extend(self.cri.message(self.request_type(rpc)?, &mut Choices(&bytes), &words));
        }
        let Ok(answered) = timeout(ANSWER, self.send(rpc, wire.clone())).await else {
            bail!("{}: no answer within {ANSWER:?} to {:?}", rpc.name, Bytes::from(wire));
        };
        self.judge(rpc, &wire, answered, &words)
    }

    fn request_type(&self, rpc: &Rpc) -> Result<&str> {
        let found = self.cri.requests.iter().find(|(name, _)| name == rpc.name);
        found.map(|(_, request)| request.as_str()).context("an RPC without a request")
    }

    async fn send(&self, rpc: &Rpc, wire: Vec<u8>) -> Result<Bytes, Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(format!("not connected: {error}")))?;
        let path = format!("/runtime.v1.{}/{}", rpc.service, rpc.name).parse().expect("a path");
        let mut request = Request::new(wire);
        request.set_timeout(ANSWER);
        if !rpc.streaming {
            return Ok(grpc.unary(request, path, Raw).await?.into_inner());
        }
        let once = tokio_stream::once(request.into_inner());
        let mut stream = grpc.streaming(Request::new(once), path, Raw).await?.into_inner();
        let mut last = Bytes::new();
        while let Ok(Some(message)) = timeout(STREAM, stream.message()).await.unwrap_or(Ok(None)) {
            last = message;
        }
        Ok(last)
    }

    fn judge(&self, rpc: &Rpc, wire: &[u8], answered: Result<Bytes, Status>, words: &Words) -> Result<()> {
        let mut state = self.state();
        let code = answered.as_ref().map_or_else(Status::code, |_| Code::Ok);
        *state.answers.entry((rpc.name, format!("{code:?}"))).or_default() += 1;
        match answered {
            Ok(answer) => {
                learn(&mut state, rpc.name, wire, &answer)?;
                Ok(())
            }
            Err(status) => {
                let text = status.message();
                ensure!(
                    !text.contains("ended without an answer")
                        && !text.contains("not connected")
                        && code != Code::Unknown,
                    "{}: {status:?} to {:?}",
                    rpc.name,
                    Bytes::copy_from_slice(wire)
                );
                let field = text.split(':').next().unwrap_or_default();
                if code == Code::Internal && state.internal.len() < 20 {
                    state.internal.push(format!("{}: {text}", rpc.name));
                }
                // What this node cannot do is not the request's fault.
                let named = self.cri.has_field(self.request_type(rpc)?, field)
                    || words.are_in(text)
                    || code == Code::Unimplemented;
                if !named && state.unnamed.len() < 20 {
                    state.unnamed.insert(
                        format!("{} {code:?}: {text}", rpc.name),
                        format!("{:?}", Bytes::copy_from_slice(wire)),
                    );
                }
                Ok(())
            }
        }
    }

    /// Removes all pods but the stress test's own.
    async fn clear(&self, pods: &Pods) -> Result<()> {
        let mut runtime = pods.runtime.clone();
        let all = runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner().items;
        for sandbox in all.into_iter().filter(|sandbox| sandbox.id != pods.sandbox_id) {
            let removed = timeout(ANSWER, client::remove_sandbox(&mut runtime, &sandbox.id)).await;
            removed.with_context(|| format!("removing {}", sandbox.id))?.with_context(|| sandbox.id)?;
        }
        let mut state = self.state();
        (state.sandboxes, state.containers) = (Vec::new(), Vec::new());
        Ok(())
    }

    fn report(&self, seconds: u64) -> Result<()> {
        let state = self.state();
        let total: usize = state.answers.values().sum();
        let mut by_code: BTreeMap<&str, usize> = BTreeMap::new();
        let mut by_rpc: BTreeMap<&str, String> = BTreeMap::new();
        for ((rpc, code), count) in &state.answers {
            *by_code.entry(code).or_default() += count;
            *by_rpc.entry(rpc).or_default() += &format!(" {code} {count}");
        }
        println!("cri-fuzz: {total} calls in {seconds} s and a rehearsal, all answered: {by_code:?}");
        by_rpc.iter().for_each(|(rpc, codes)| println!("  {rpc}:{codes}"));
        state.internal.iter().for_each(|text| println!("  Internal, {text}"));
        ensure!(
            by_rpc.len() == RPCS.len() || seconds < 60,
            "{} of {} RPCs were called",
            by_rpc.len(),
            RPCS.len()
        );
        let unnamed: Vec<String> =
            state.unnamed.iter().map(|(text, sent)| format!("{text}\n    to {sent}")).collect();
        ensure!(
            unnamed.is_empty(),
            "errors that name neither a field nor what they are about:\n  {}",
            unnamed.join("\n  ")
        );
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which pods and containers there are, by what was answered.
fn learn(state: &mut State, rpc: &str, wire: &[u8], answer: &Bytes) -> Result<()> {
    let forget = |list: &mut Vec<String>, id: &str| list.retain(|known| known != id);
    let add = |list: &mut Vec<String>, id: String| {
        // The same pod, asked for once more.
        if !list.contains(&id) {
            list.push(id);
        }
    };
    match rpc {
        "RunPodSandbox" => {
            add(&mut state.sandboxes, v1::RunPodSandboxResponse::decode(answer.clone())?.pod_sandbox_id)
        }
        "RestorePod" => {
            add(&mut state.sandboxes, v1::RestorePodResponse::decode(answer.clone())?.pod_sandbox_id)
        }
        "CreateContainer" => {
            add(&mut state.containers, v1::CreateContainerResponse::decode(answer.clone())?.container_id)
        }
        "RemovePodSandbox" => {
            forget(&mut state.sandboxes, &v1::RemovePodSandboxRequest::decode(wire)?.pod_sandbox_id)
        }
        "RemoveContainer" => {
            forget(&mut state.containers, &v1::RemoveContainerRequest::decode(wire)?.container_id)
        }
        _ => {}
    }
    Ok(())
}

fn find(name: &str) -> Result<&'static Rpc> {
    RPCS.iter().find(|rpc| rpc.name == name).with_context(|| format!("no RPC {name}"))
}

/// A good request, where there is more to it than an ID; for the others, the ID.
fn base(rpc: &str, words: &Words) -> Vec<u8> {
    let sandbox = || v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: words.any_name(),
            uid: "uid".into(),
            namespace: "fuzz".into(),
            attempt: 0,
        }),
        log_directory: words.logs(),
        linux: Some(v1::LinuxPodSandboxConfig::default()),
        ..Default::default()
    };
    let (pod_sandbox_id, container_id) = (words.sandbox(), words.container());
    match rpc {
        "RunPodSandbox" => {
            v1::RunPodSandboxRequest { config: Some(sandbox()), ..Default::default() }.encode_to_vec()
        }
        "CreateContainer" => {
            let config = Some(requests::idle(&words.any_name()));
            v1::CreateContainerRequest { pod_sandbox_id, config, sandbox_config: Some(sandbox()) }
                .encode_to_vec()
        }
        "ExecSync" => {
            v1::ExecSyncRequest { container_id, cmd: vec!["echo".into()], timeout: 2 }.encode_to_vec()
        }
        "UpdateContainerResources" => {
            let linux = Some(v1::LinuxContainerResources::default());
            v1::UpdateContainerResourcesRequest { container_id, linux, ..Default::default() }.encode_to_vec()
        }
        "PullImage" | "ImageStatus" => {
            let image = Some(requests::image(requests::BUSYBOX));
            v1::PullImageRequest { image, ..Default::default() }.encode_to_vec()
        }
        // Their first field is a filter.
        name if name.starts_with("List") || name.starts_with("Stream") => Vec::new(),
        // The first field of each is the ID.
        name if name.contains("Sandbox") || matches!(name, "PortForward" | "CheckpointPod") => {
            v1::StopPodSandboxRequest { pod_sandbox_id }.encode_to_vec()
        }
        name if name.contains("Container") || matches!(name, "Exec" | "Attach") => {
            v1::RemoveContainerRequest { container_id }.encode_to_vec()
        }
        _ => Vec::new(),
    }
}

/// Ports of the host that nobody has.
fn free_ports() -> Result<[u16; 2]> {
    let held = [std::net::TcpListener::bind("127.0.0.1:0")?, std::net::TcpListener::bind("127.0.0.1:0")?];
    Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port()])
}

fn rand_of_clock() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.subsec_nanos())
}

impl Random {
    fn rpc(&mut self) -> &'static Rpc {
        let weight =
            |rpc: &Rpc| OFTEN.iter().find(|(name, _)| *name == rpc.name).map_or(1, |(_, often)| *often);
        let all: usize = RPCS.iter().map(weight).sum();
        let mut at = (self.next() % all as u64) as usize;
        for rpc in RPCS {
            match at.checked_sub(weight(rpc)) {
                Some(rest) => at = rest,
                None => return rpc,
            }
        }
        &RPCS[0]
    }

    /// Bytes that end a message now and then; few, so that most messages stay near to good ones.
    fn choices(&mut self) -> Vec<u8> {
        let length = [4, 12, 40, 150][(self.next() % 4) as usize];
        let byte = |random: &mut Self| {
            let word = random.next();
            if word.is_multiple_of(5) { 0 } else { (word >> 32) as u8 }
        };
        (0..length).map(|_| byte(self)).collect()
    }
}

/// Messages as the bytes that they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
