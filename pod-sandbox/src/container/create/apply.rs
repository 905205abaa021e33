//! Makes what the plan says, each step with its reverse. Decides nothing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use linkspan_files::Access;
use linkspan_runtime_oci::rooted::Root;
use linkspan_runtime_oci::{ConsoleSocket, CreateRequest, Process, crash_point, spec};
use serde_json::Value;

use super::plan::{ContainerPlan, pid_pin};
use super::{check_ready, volumes};
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::error::Error;
use crate::host_files::{HostAccess, Step};
use crate::namespaces;
use crate::operations::stage;
use crate::own_files::write;
use crate::plugins::{self, InFlight};
use crate::pods::Inner;
use crate::selinux;
use crate::table::blocking;
use crate::undo::Undo;
use crate::user_namespace;

pub(super) async fn run(inner: &Arc<Inner>, plan: ContainerPlan, undo: &mut Undo) -> Result<(), Error> {
    for warning in spec::warnings(&plan.spec) {
        tracing::warn!(container_id = %plan.record.id, warning, "part of the request cannot be had on this host");
    }
    let mut plan = Arc::new(plan);
    let spec = files(inner, Arc::clone(&plan), undo).await?;
    let _in_flight = InFlight::new(inner, plan.record.id.as_str());
    let mut record = plan.record.clone();
    let spec = plugins::creating(inner, &mut record, spec, undo).await?;
    Arc::make_mut(&mut plan).record = record;
    write_spec(&plan.bundle, spec, user_namespace::access(plan.owner)).await?;
    if let Some(process) = plan.pid_namespace_of {
        // The bundle's removal is the reverse.
        namespaces::pin_pid(process, &pid_pin(&plan.bundle)).await?;
    }
    let state = match plan.awaits_restore {
        true => State::AwaitsRestore,
        false => State::Created { process: create(inner, &plan, undo).await? },
    };
    let record = ContainerRecord { state, ..plan.record.clone() };
    // The stop of a sandbox waits for nobody before it says that it has begun.
    let sandbox_id = plan.record.sandbox_id.clone();
    crash_point("container-before-created");
    inner.table.put_if(record, move |now| check_ready(now, &sandbox_id).map(drop)).await?;
    crash_point("container-created");
    Ok(())
}

/// All but the spec, which is given back.
async fn files(inner: &Arc<Inner>, plan: Arc<ContainerPlan>, undo: &mut Undo) -> Result<Value, Error> {
    let sandbox = check_ready(&inner.table.snapshot(), &plan.record.sandbox_id)?;
    if let Some(path) = plan.log_path.clone().filter(|_| plan.makes_log) {
        // Before the monitor opens it. The sandbox may be stopped by the time of the undo.
        let (inner, access) = (Arc::clone(inner), HostAccess::new(&sandbox.config, "removing log", &path));
        undo.push("remove log", move || async move {
            inner.host_files.run(access, move |_| remove_log(&path)).await
        });
    }
    let access = HostAccess::of(&sandbox, "preparing", &plan.bundle);
    let prepare = move |step: &Step| {
        for dir in &plan.host_dirs {
            step.next("making host path", dir)?;
            fs::create_dir_all(dir).map_err(Error::store("making host path", dir))?;
        }
        for volume in &plan.volumes {
            volumes::fill(&plan.rootfs, volume, plan.owner, step)?;
        }
        if let Some(label) = &plan.spec.selinux_mount_label {
            let volumes = plan.volumes.iter().map(|volume| &volume.host_path);
            let mut all = plan.relabelled.iter().chain(volumes);
            all.try_for_each(|path| selinux::relabel(path, label, step))?;
        }
        step.next("preparing", &plan.bundle)?;
        Root::open(&plan.rootfs)?.make_dir(&plan.working_dir, plan.owner)?;
        let spec = plan.oci_spec()?;
        serde_json::to_value(&spec).map_err(|error| Error::store("encoding", &plan.bundle)(error.into()))
    };
    inner.host_files.run(access, prepare).await
}

async fn write_spec(bundle: &Path, spec: Arc<Value>, access: Access) -> Result<(), Error> {
    let path = bundle.join("config.json");
    blocking("writing a spec", move || write(&path, spec.to_string(), access)).await
}

async fn create(inner: &Arc<Inner>, plan: &ContainerPlan, undo: &mut Undo) -> Result<Process, Error> {
    let (id, record) = (plan.record.id.to_string(), &plan.record);
    let monitor = inner.monitor_of(&record.sandbox_id)?;
    let runtime = &inner.handler(&record.handler)?.runtime;
    let (pid_file, runtime_log) = (plan.bundle.join("pid"), plan.bundle.join("log.json"));
    let terminal = record.config.tty.then(|| ConsoleSocket::in_dir(&plan.bundle)).transpose()?;
    let console_socket = terminal.as_ref().map(ConsoleSocket::path);
    let request = CreateRequest {
        command: runtime.create_command(
            &id,
            &plan.bundle,
            &pid_file,
            console_socket.as_deref(),
            &runtime_log,
        ),
        container_id: id.clone(),
        bundle: plan.bundle.clone(),
        pid_file,
        runtime_log,
        log_path: plan.log_path.clone(),
        tty: record.config.tty,
        stdin: record.config.stdin,
        stdin_once: record.config.stdin_once,
        console_socket,
        stdio_owner: plan.owner,
        deadline: inner.settings.runtime_timeout,
        oom_files: inner.cgroups.oom_file(&record.cgroup_path).into_iter().collect(),
        restores: false,
    };
    let (cgroups, cgroup) = (inner.cgroups.clone(), record.cgroup_path.clone());
    undo.push("remove cgroup", move || async move { Ok(cgroups.remove(&cgroup).await?) });
    let (runtime, deleted, forgetting) = (runtime.clone(), id.clone(), monitor.clone());
    undo.push("delete container", move || async move {
        runtime.delete(&deleted, true).await?;
        Ok(forgetting.forget(&deleted).await?)
    });
    let process = stage("runtime create", monitor.create(request)).await?;
    crash_point("container-runtime-created");
    if plan.pid_namespace_of.is_some() {
        namespaces::unpin_file(&pid_pin(&plan.bundle)).await?;
    }
    let snapshot = inner.table.snapshot();
    let sandbox = snapshot.sandboxes.get(&record.sandbox_id);
    match sandbox.and_then(|sandbox| sandbox.state.pause()) == Some(&process) {
        // Its end would be the sandbox's, and so would each signal.
        true => Err(Error::Unimplemented(
            "containers that a runtime keeps inside the sandbox's own process, as gVisor does",
        )),
        false => Ok(process),
    }
}

/// Without anything in it, so that what an older container of the name wrote stays. The kubelet takes the log of a
/// container that never ran for a restart (kuberuntime, `calcRestartCountByLogDir`).
pub(crate) fn remove_unused_log(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() && found.len() == 0 => remove_log(path),
        _ => Ok(()),
    }
}

fn remove_log(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::store("removing log", path)(error))
        }
        _ => Ok(()),
    }
}
