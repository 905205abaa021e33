//! What is in the way of pods with a user namespace. Reads only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use linkspan_config::SandboxKind;
use linkspan_image::{IdMap, Images};
use linkspan_runtime_oci::Features;
use rustix::thread::UnshareFlags;

use crate::error::Error;
use crate::handler::Handler;
use crate::namespaces::user::Holder;
use crate::pods::Inner;
use crate::table::blocking;

/// Any will do to find out whether it works.
const EXAMPLE: IdMap = IdMap { host_id: 65_536, length: 65_536 };

/// What the host lacks, found out when the daemon starts: a namespace is made, and a mount of the layers with its users.
pub(crate) async fn of_host(images: &Images) -> Option<String> {
    let holder =
        blocking("making a user namespace", || Ok(Holder::new(EXAMPLE, UnshareFlags::empty())?)).await;
    let outcome = match &holder {
        Ok(holder) => images.check_mappable(&holder.user_file()).await.map_err(Error::from),
        Err(_) => Ok(()),
    };
    // Its end waits for a child.
    let made = blocking("ending a user namespace", move || holder.map(drop)).await;
    let reason = made.and(outcome).err().map(|error| format!("this host cannot: {error}"))?;
    tracing::info!(reason, "pods cannot have user namespaces");
    Some(reason)
}

/// What a handler's pods lack for a user namespace; `None`: nothing.
pub(crate) fn obstacle(inner: &Inner, handler: &Handler, features: &Features) -> Option<String> {
    if let Some(reason) = &inner.host.no_user_namespaces {
        return Some(reason.clone());
    }
    if handler.sandbox == SandboxKind::Oci {
        return Some(format!(
            "handler {:?} has sandbox = \"oci\": its runtime makes the pod, and knows of no user namespace for it",
            handler.runtime.name()
        ));
    }
    if !features.user_namespaces() {
        return Some(format!(
            "the runtime of handler {:?}, {}, does not tell of user namespaces and ID-mapped mounts in its `features`; \
             runc 1.2 and crun 1.21 do",
            handler.runtime.name(),
            handler.path.display()
        ));
    }
    barred(&inner.layout.pods_dir())
}

/// The runtime goes down to the root file system as the pod's users, who are nobody to the host.
fn barred(dir: &Path) -> Option<String> {
    let closed =
        |dir: &&Path| fs::metadata(dir).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 == 0);
    let dir = dir.ancestors().find(closed)?;
    Some(format!("{0} bars the pod's users from their root file systems; chmod o+x {0}", dir.display()))
}
