//! The cases, each measured for every endpoint in turn.

use std::time::{Duration, Instant};

use anyhow::Result;
use linkspan_cri_api::v1;

use crate::cri::{Endpoint, Pod};
use crate::table::Table;
use crate::{Plan, memory, transfer};

const SLEEP: &str = "exec sleep 3600";

pub(crate) async fn run(plan: &Plan, endpoints: &mut [Endpoint], table: &mut Table) -> Result<()> {
    for endpoint in endpoints.iter_mut() {
        endpoint.pull(&plan.image).await?;
    }
    let mut bare = plan.bare.ready()?;
    for (case, host_network) in [("host network", true), ("CNI", false)] {
        for index in 0..plan.count {
            for endpoint in endpoints.iter_mut() {
                let name = format!("bench-{}-{index}", if host_network { "host" } else { "cni" });
                let begun = Instant::now();
                let pod = endpoint.start_pod(&name, host_network, SLEEP, &plan.image).await?;
                table.sample(&format!("pod → started, serial, {case}"), &endpoint.name, begun.elapsed());
                let begun = Instant::now();
                endpoint.end_pod(&pod).await?;
                table.sample(&format!("pod stop + remove, {case}"), &endpoint.name, begun.elapsed());
            }
            bare.sample(!host_network, table)?;
        }
    }
    for endpoint in endpoints.iter_mut() {
        parallel(plan, endpoint, table).await?;
        standing(plan, endpoint, table).await?;
        logs(plan, endpoint, table).await?;
        transfers(plan, endpoint, table).await?;
        large_pull(plan, endpoint, table).await?;
    }
    Ok(())
}

/// Many pods at once; the sample is the wall time of each batch, divided by its size.
async fn parallel(plan: &Plan, endpoint: &Endpoint, table: &mut Table) -> Result<()> {
    let each = |total: Duration| total / u32::try_from(plan.parallel).unwrap_or(1);
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..plan.parallel {
        let mut client = Endpoint::connect(&endpoint.name, &endpoint.socket).await?;
        let image = plan.image.clone();
        tasks.spawn(async move {
            let pod = client.start_pod(&format!("bench-parallel-{index}"), false, SLEEP, &image).await?;
            anyhow::Ok((client, pod))
        });
    }
    let mut started = Vec::new();
    while let Some(result) = tasks.join_next().await {
        started.push(result??);
    }
    table.sample("pod → started, parallel, CNI, per pod", &endpoint.name, each(begun.elapsed()));
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for (mut client, pod) in started {
        tasks.spawn(async move { client.end_pod(&pod).await });
    }
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    table.sample("pod stop + remove, parallel, per pod", &endpoint.name, each(begun.elapsed()));
    Ok(())
}

/// What is asked of pods that stand: exec, list, stats; and what they cost in memory.
async fn standing(plan: &Plan, endpoint: &mut Endpoint, table: &mut Table) -> Result<()> {
    let mut pods: Vec<Pod> = Vec::new();
    for index in 0..plan.parallel {
        pods.push(endpoint.start_pod(&format!("bench-standing-{index}"), true, SLEEP, &plan.image).await?);
    }
    for _ in 0..plan.count {
        let begun = Instant::now();
        endpoint.exec(&pods[0], &["true"]).await?;
        table.sample("exec true", &endpoint.name, begun.elapsed());
        let begun = Instant::now();
        endpoint.runtime.list_containers(v1::ListContainersRequest::default()).await?;
        table.sample("list containers", &endpoint.name, begun.elapsed());
        // A server may be unable to (containerd on hybrid cgroups is): its cell stays empty.
        let begun = Instant::now();
        if endpoint.runtime.list_container_stats(v1::ListContainerStatsRequest::default()).await.is_ok() {
            table.sample("list container stats", &endpoint.name, begun.elapsed());
        }
        let begun = Instant::now();
        if endpoint.runtime.list_pod_sandbox_stats(v1::ListPodSandboxStatsRequest::default()).await.is_ok() {
            table.sample("list sandbox stats", &endpoint.name, begun.elapsed());
        }
    }
    memory::measure(endpoint, pods.len(), table)?;
    for pod in &pods {
        endpoint.end_pod(pod).await?;
    }
    Ok(())
}

/// Wall time of a container that writes 100 MB of lines to its log.
async fn logs(plan: &Plan, endpoint: &mut Endpoint, table: &mut Table) -> Result<()> {
    let shell = "head -c 100000000 /dev/zero | tr '\\0' x | fold -w 99";
    let begun = Instant::now();
    let pod = endpoint.start_pod("bench-logs", true, shell, &plan.image).await?;
    endpoint.wait_exited(&pod).await?;
    table.sample("container that logs 100 MB", &endpoint.name, begun.elapsed());
    let bytes = std::fs::metadata(&pod.log)?.len();
    anyhow::ensure!(bytes > 100_000_000, "{}: the log has {bytes} bytes only", endpoint.name);
    endpoint.end_pod(&pod).await
}

/// How fast bytes go through an exec.
async fn transfers(plan: &Plan, endpoint: &mut Endpoint, table: &mut Table) -> Result<()> {
    if plan.transfer_bytes == 0 {
        return Ok(());
    }
    let pod = endpoint.start_pod("bench-transfers", true, SLEEP, &plan.image).await?;
    let outcome = transfer::run(plan, endpoint, &pod, table).await;
    endpoint.end_pod(&pod).await?;
    outcome
}

async fn large_pull(plan: &Plan, endpoint: &mut Endpoint, table: &mut Table) -> Result<()> {
    if plan.large_image.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    endpoint.pull(&plan.large_image).await?;
    table.sample("pull of the large image", &endpoint.name, begun.elapsed());
    let begun = Instant::now();
    endpoint.remove_image(&plan.large_image).await?;
    table.sample("remove the large image", &endpoint.name, begun.elapsed());
    Ok(())
}
