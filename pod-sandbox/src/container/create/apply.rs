//! Makes what the plan says, each step with its reverse. Decides nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_runtime_oci::{CreateRequest, Process, spec};

use super::plan::ContainerPlan;
use super::{rooted, volumes};
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::error::Error;
use crate::pods::Inner;
use crate::table::blocking;
use crate::undo::Undo;

/// Relative to the bundle: an absolute name may be too long for a socket.
const CONSOLE_SOCKET: &str = "console.sock";

pub(super) async fn run(inner: &Arc<Inner>, plan: ContainerPlan, undo: &mut Undo) -> Result<(), Error> {
    for warning in spec::warnings(&plan.spec) {
        tracing::warn!(container_id = %plan.record.id, warning, "part of the request cannot be had on this host");
    }
    let plan = Arc::new(plan);
    files(Arc::clone(&plan), undo).await?;
    let process = create(inner, &plan, undo).await?;
    let record = ContainerRecord { state: State::Created { process }, ..plan.record.clone() };
    inner.table.put(record).await.map(drop)
}

async fn files(plan: Arc<ContainerPlan>, undo: &mut Undo) -> Result<(), Error> {
    if let Some(path) = plan.log_path.clone().filter(|path| !rooted::is_there(path)) {
        undo.push("remove log", move || blocking("removing a log", move || remove_log(&path)));
    }
    blocking("preparing a bundle", move || {
        for dir in &plan.host_dirs {
            fs::create_dir_all(dir).map_err(Error::store("making host path", dir))?;
        }
        for volume in &plan.volumes {
            volumes::fill(&plan.rootfs, volume)?;
        }
        rooted::make_dir(&plan.rootfs, &plan.working_dir)?;
        plan.log_path.as_deref().map_or(Ok(()), clear_dangling_link)?;
        let spec = spec::build(&plan.spec)?;
        let path = plan.bundle.join("config.json");
        let text = serde_json::to_vec(&spec).map_err(|e| Error::store("encoding", &path)(e.into()))?;
        fs::write(&path, text).map_err(Error::store("writing", &path))
    })
    .await
}

async fn create(inner: &Arc<Inner>, plan: &ContainerPlan, undo: &mut Undo) -> Result<Process, Error> {
    let (id, record) = (plan.record.id.to_string(), &plan.record);
    let monitor = inner.monitor(&record.sandbox_id);
    let monitor = monitor.ok_or_else(|| Error::NoSuchSandbox(record.sandbox_id.to_string()))?;
    let runtime = &inner.handler(&record.handler)?.runtime;
    let (pid_file, runtime_log) = (plan.bundle.join("pid"), plan.bundle.join("log.json"));
    let console_socket = record.config.tty.then(|| PathBuf::from(CONSOLE_SOCKET));
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
        deadline: inner.settings.runtime_timeout,
        oom_files: vec![inner.cgroups.oom_file(&record.cgroup_path)],
    };
    let (cgroups, cgroup) = (inner.cgroups.clone(), record.cgroup_path.clone());
    undo.push("remove cgroup", move || async move { Ok(cgroups.remove(&cgroup).await?) });
    let (runtime, deleted, forgetting) = (runtime.clone(), id.clone(), monitor.clone());
    undo.push("delete container", move || async move {
        runtime.delete(&deleted, true).await?;
        Ok(forgetting.forget(&deleted).await?)
    });
    Ok(monitor.create(request).await?)
}

/// Kubernetes issue 44043: a link left by an older container would lead the new log astray.
fn clear_dangling_link(path: &Path) -> Result<(), Error> {
    match path.is_symlink() && !path.exists() {
        true => fs::remove_file(path).map_err(Error::store("removing dangling link", path)),
        false => Ok(()),
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
