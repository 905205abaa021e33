//! Makes the container that a sandbox of kind `oci` is. Decides nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use linkspan_config::SandboxKind;
use linkspan_files::Access;
use linkspan_runtime_oci::monitor::{Monitor, pause_program};
use linkspan_runtime_oci::{CreateRequest, Process, spec};

use super::plan::FirstContainerPlan;
use crate::error::Error;
use crate::host_files::Step;
use crate::operations::stage;
use crate::own_files::{make_dir, write};
use crate::pods::Inner;
use crate::sandbox::record::SandboxRecord;
use crate::selinux;
use crate::table::blocking;
use crate::undo::Undo;

/// Created and started; the process is what holds the sandbox, as pause does with kind `native`.
pub(in crate::sandbox::run) async fn run(
    inner: &Arc<Inner>,
    monitor: &Monitor,
    plan: FirstContainerPlan,
    undo: &mut Undo,
) -> Result<Process, Error> {
    let runtime = inner.handler(&plan.handler)?.runtime.clone();
    let (id, bundle) = (plan.id.clone(), plan.bundle.clone());
    blocking("preparing a sandbox's bundle", move || prepare(&plan)).await?;
    let (pid_file, runtime_log) = (bundle.join("pid"), bundle.join("log.json"));
    let request = CreateRequest {
        command: runtime.create_command(&id, &bundle, &pid_file, None, &runtime_log),
        container_id: id.clone(),
        bundle,
        pid_file,
        runtime_log,
        deadline: inner.settings.runtime_timeout,
        ..CreateRequest::default()
    };
    let (deleting, deleted) = (runtime.clone(), id.clone());
    undo.push(
        "delete the sandbox's container",
        move || async move { Ok(deleting.delete(&deleted, true).await?) },
    );
    let process = stage("runtime create", monitor.create(request)).await?;
    stage("runtime start", runtime.start(&id)).await?;
    Ok(process)
}

/// The bundle's directory goes with the pod's.
fn prepare(plan: &FirstContainerPlan) -> Result<(), Error> {
    let rootfs = plan.program.parent().map(PathBuf::from).unwrap_or_default();
    // The pod may have asked for any user, to whom the program must be there.
    for (dir, access) in [(&plan.bundle, Access::Private), (&rootfs, Access::Content)] {
        make_dir(dir, access)?;
    }
    write(&plan.program, pause_program(), Access::Content)?;
    fs::set_permissions(&plan.program, fs::Permissions::from_mode(0o555))
        .map_err(Error::store("setting the mode of", &plan.program))?;
    if let Some(label) = &plan.spec.selinux_mount_label {
        selinux::relabel(&rootfs, label, &Step::of_our_own("labelling", &rootfs))?;
    }
    let mut spec = spec::build(&plan.spec)?;
    spec.set_hostname(plan.hostname.clone());
    let path = plan.bundle.join("config.json");
    let text = serde_json::to_vec(&spec).map_err(|e| Error::store("encoding", &path)(e.into()))?;
    write(&path, text, Access::Private)
}

/// Lets go of what the runtime keeps about the sandbox, by force. Gone, or never there: Ok.
pub(in crate::sandbox) async fn delete(inner: &Inner, record: &SandboxRecord) -> Result<(), Error> {
    if record.kind == SandboxKind::Native {
        return Ok(());
    }
    inner.delete_from_runtime(&record.handler, record.id.as_str(), Some(&record.cgroup.pause)).await
}
