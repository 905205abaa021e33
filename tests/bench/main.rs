//! Benchmarks of any CRI socket: pod start serial and parallel, teardown, exec, list, stats, logs, pull, memory, and
//! bytes through an exec.
//!
//! `linkspan-bench --endpoint linkspan=/run/linkspan/linkspan.sock [--endpoint containerd=…] [--count 20] [--json FILE]`
//!
//! Endpoints are measured in turn, case by case, so that a noisy machine is noisy for all of them; compare the
//! columns of one run, never the numbers of two.
// A case is one future, however long.
#![allow(clippy::large_futures)]

mod bare;
mod cases;
mod cri;
mod memory;
mod table;
mod transfer;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cri::Endpoint;

/// What is measured, and how often.
pub(crate) struct Plan {
    pub(crate) endpoints: Vec<(String, PathBuf)>,
    /// Samples of each case.
    pub(crate) count: usize,
    /// Pods started at the same time in the parallel case.
    pub(crate) parallel: usize,
    pub(crate) image: String,
    /// Pulled and removed again, once for each endpoint; skipped when empty.
    pub(crate) large_image: String,
    /// Sent through an exec in each direction; skipped when zero.
    pub(crate) transfer_bytes: u64,
    pub(crate) json: Option<PathBuf>,
    pub(crate) bare: bare::Bare,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Plan> {
    let mut plan = Plan {
        endpoints: Vec::new(),
        count: 20,
        parallel: 10,
        image: "docker.io/library/busybox:latest".into(),
        large_image: String::new(),
        transfer_bytes: 1_000_000_000,
        json: None,
        bare: bare::Bare::default(),
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--endpoint" => {
                let (name, socket) = value.split_once('=').context("--endpoint NAME=SOCKET")?;
                plan.endpoints.push((name.to_owned(), socket.into()));
            }
            "--count" => plan.count = value.parse()?,
            "--parallel" => plan.parallel = value.parse()?,
            "--image" => plan.image = value,
            "--large-image" => plan.large_image = value,
            "--transfer-bytes" => plan.transfer_bytes = value.parse()?,
            "--json" => plan.json = Some(value.into()),
            "--runtime" => plan.bare.runtime = Some(value.into()),
            "--rootfs" => plan.bare.rootfs = Some(value.into()),
            "--cni-conf" => plan.bare.cni_conf = Some(value.into()),
            "--cni-bin-dir" => plan.bare.cni_bin_dir = Some(value.into()),
            _ => bail!("unknown flag {flag}"),
        }
    }
    if plan.endpoints.is_empty() {
        bail!("no --endpoint NAME=SOCKET");
    }
    Ok(plan)
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = parse(std::env::args().skip(1))?;
    let mut endpoints = Vec::new();
    for (name, socket) in &plan.endpoints {
        endpoints.push(Endpoint::connect(name, socket).await?);
    }
    let mut table = table::Table::new(plan.endpoints.iter().map(|(name, _)| name.clone()).collect());
    cases::run(&plan, &mut endpoints, &mut table).await?;
    print!("{}", table.render());
    if let Some(path) = &plan.json {
        std::fs::write(path, table.json()?).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}
