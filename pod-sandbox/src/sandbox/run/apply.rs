//! Makes what the plan says, each step with its reverse. Decides nothing.

use std::fs;
use std::os::unix::fs::chown;
use std::sync::Arc;

use linkspan_files::Access;
use linkspan_runtime_oci::monitor::{Monitor, MonitorSpec, PauseSpec};
use linkspan_runtime_oci::{Process, crash_point};

use super::first_container::{self, FirstContainerPlan};
use super::plan::{FilePlan, SandboxPlan};
use crate::error::Error;
use crate::exits;
use crate::host_files::{HostAccess, Step};
use crate::mounts;
use crate::namespaces;
use crate::network::{Attachment, NetworkStatus};
use crate::operations::{self, stage};
use crate::own_cgroups;
use crate::own_files::{make_dir, write};
use crate::plugins;
use crate::pods::Inner;
use crate::sandbox::record::{PodCgroup, SandboxRecord};
use crate::sandbox::state::State;
use crate::selinux;
use crate::table::blocking;
use crate::undo::Undo;
use crate::unfinished::Unfinished;
use crate::user_namespace;

pub(super) async fn run(
    inner: &Arc<Inner>,
    plan: SandboxPlan,
    first_container: Option<FirstContainerPlan>,
    undo: &mut Undo,
) -> Result<(), Error> {
    let mut record = plan.record.clone();
    operations::is_about(&record.id);
    announce(inner, &record, undo).await?;
    crash_point("sandbox-announced");
    directories(inner, &plan, undo).await?;
    // The monitor needs no more than its directory: it begins beside all that is made for pause.
    let (prepared, monitor) =
        tokio::join!(prepare(inner, &mut record, &plan, undo), start_monitor(inner, &plan));
    if let Ok(monitor) = &monitor {
        let (monitor, id) = (monitor.clone(), record.id.clone());
        // What is below one that had to be killed is ended by its groups, if need be later.
        undo.push("end monitor", move || async move { exits::end_monitor(&id, &monitor).await });
    }
    let monitor = prepared.and(monitor)?;
    crash_point("sandbox-prepared");
    let pause = match first_container {
        None => start_pause(inner, &monitor, &record, &plan).await?,
        Some(container) => first_container::run(inner, &monitor, container, undo).await?,
    };
    crash_point("sandbox-pause-up");
    if let Some(attachment) = &record.attachment {
        let netns = attachment.netns.clone();
        let sysctls = plan.namespaces.sysctls.clone();
        namespaces::apply_interface_sysctls(&netns, &sysctls).await?;
    }
    record.state = State::Ready { pause };
    let _in_flight = plugins::pod_is_about_to(inner, &record, undo).await?;
    let id = record.id.clone();
    record.entry.set_monitor(monitor.clone());
    let entry = record.entry.clone();
    crash_point("sandbox-before-ready");
    if let Err(error) = inner.table.put(record).await {
        entry.take_monitor();
        return Err(error);
    }
    crash_point("sandbox-ready");
    exits::watch(inner, id, &monitor);
    Ok(())
}

/// What pause runs in.
async fn prepare(
    inner: &Arc<Inner>,
    record: &mut SandboxRecord,
    plan: &SandboxPlan,
    undo: &mut Undo,
) -> Result<(), Error> {
    cgroup(inner, record, plan, undo).await?;
    let pinned = namespaces::create(&plan.namespaces).await?;
    let dir = plan.namespaces.dir.clone();
    undo.push("unpin namespaces", move || async move { Ok(namespaces::unpin(&dir).await?) });
    record.namespaces = pinned;
    files(plan).await?;
    record.network = attach(inner, record.attachment.as_ref(), undo).await?;
    Ok(())
}

async fn announce(inner: &Arc<Inner>, record: &SandboxRecord, undo: &mut Undo) -> Result<(), Error> {
    Unfinished::Sandbox(Box::new(record.clone())).goes_with(undo, inner);
    inner.table.announce(record).await
}

async fn directories(inner: &Inner, plan: &SandboxPlan, undo: &mut Undo) -> Result<(), Error> {
    let pod_dir = plan.pod_dir.clone();
    let access = user_namespace::access(plan.namespaces.user.map(|users| users.host_id));
    let dir = pod_dir.clone();
    undo.push("remove pod directory", move || {
        blocking("removing a pod's directory", move || mounts::remove_tree(&dir))
    });
    blocking("making a pod's directory", move || make_dir(&pod_dir, access)).await?;
    let Some(dir) = plan.log_directory.clone() else { return Ok(()) };
    let access = HostAccess::new(&plan.record.config, "looking at log directory", &dir);
    let make = move |step: &Step| match dir.exists() {
        true => Ok(()),
        false => {
            step.next("making log directory", &dir)?;
            fs::create_dir_all(&dir).map_err(Error::store("making log directory", &dir))
        }
    };
    inner.host_files.run(access, make).await
}

/// Their way back is there before they are made: what is made after the first may fail.
async fn cgroup(
    inner: &Arc<Inner>,
    record: &mut SandboxRecord,
    plan: &SandboxPlan,
    undo: &mut Undo,
) -> Result<(), Error> {
    let (id, groups, limits) = (record.id.clone(), record.cgroup.clone(), plan.pod_limits.clone());
    let (owner, planned) = (Arc::clone(inner), record.clone());
    undo.push(
        "remove pod's cgroups",
        move || async move { own_cgroups::remove_pods(&owner, &planned).await },
    );
    let owner = Arc::clone(inner);
    let is_made = blocking("making a pod's cgroups", move || {
        let is_made = owner.cgroups.create(&groups.parent)?;
        if is_made || groups.parent == owner.pod_cgroup(id.as_str()) {
            own_cgroups::mark(&owner, &groups.parent);
        }
        // Those that were missing above it.
        groups.made.iter().for_each(|group| own_cgroups::mark(&owner, group));
        owner.cgroups.create(&groups.pause)?;
        if let Some(limits) = limits {
            owner.cgroups.apply(&groups.parent, &limits)?;
        }
        Ok(is_made)
    });
    let is_made = is_made.await?;
    let PodCgroup { parent, pause, made } = &mut record.cgroup;
    if is_made && !made.contains(parent) {
        made.push(parent.clone());
    }
    made.push(pause.clone());
    Ok(())
}

async fn files(plan: &SandboxPlan) -> Result<(), Error> {
    let mut files = vec![plan.hostname_file.clone(), plan.resolv_conf.clone()];
    files.extend(plan.hosts.clone());
    let shm = plan.shm.clone();
    let owner = plan.namespaces.user.map(|users| users.host_id);
    let label = plan.selinux_labels.as_ref().map(|labels| labels.mount.clone());
    blocking("writing a pod's files", move || {
        for FilePlan { path, content } in &files {
            write(path, content, Access::Content)?;
            if let Some(owner) = owner {
                chown(path, Some(owner), Some(owner)).map_err(Error::store("giving away", path))?;
            }
            let step = Step::of_our_own("labelling", path);
            label.as_deref().map_or(Ok(()), |label| selinux::relabel(path, label, &step))?;
        }
        // Its reverse is the removal of the pod's directory, which unmounts all below it.
        let label = label.as_deref();
        shm.map_or(Ok(()), |shm| mounts::mount_shm(&shm.path, shm.size_bytes, owner, label))
    })
    .await
}

async fn attach(
    inner: &Arc<Inner>,
    attachment: Option<&Attachment>,
    undo: &mut Undo,
) -> Result<Option<NetworkStatus>, Error> {
    let Some(attachment) = attachment else { return Ok(None) };
    // CNI wants DEL after a failed ADD too.
    let (network, to_detach) = (inner.network.clone(), attachment.clone());
    undo.push("detach network", move || async move { Ok(network.detach(&to_detach).await?) });
    let status = stage("network ADD", inner.network.attach(attachment)).await?;
    crash_point("sandbox-network-added");
    Ok(Some(status))
}

async fn start_monitor(inner: &Arc<Inner>, plan: &SandboxPlan) -> Result<Monitor, Error> {
    let spec = MonitorSpec {
        binary: inner.settings.monitor.clone(),
        pod_dir: plan.pod_dir.clone(),
        sandbox_id: plan.record.id.to_string(),
        cgroup_procs: own_cgroups::of_monitors(inner).await?,
        oom_score_adj: Some(inner.monitor_oom_score_adj()),
        max_log_line_bytes: inner.settings.container.max_log_line_bytes,
    };
    let monitor = stage("starting the monitor", Monitor::spawn(&spec)).await?;
    crash_point("sandbox-monitor-up");
    Ok(monitor)
}

async fn start_pause(
    inner: &Arc<Inner>,
    monitor: &Monitor,
    record: &SandboxRecord,
    plan: &SandboxPlan,
) -> Result<Process, Error> {
    let spec = PauseSpec {
        user: record.namespaces.user.clone(),
        network: record.namespaces.network.clone(),
        ipc: record.namespaces.ipc.clone(),
        uts: record.namespaces.uts.clone(),
        new_pid: plan.new_pid_namespace,
        cgroup_procs: inner.cgroups.procs_files(&record.cgroup.pause),
        oom_score_adj: Some(plan.pause_oom_score_adj),
    };
    Ok(stage("starting pause", monitor.start_pause(spec)).await?)
}
