//! What a daemon of an earlier version made of pods that still run, open to everybody, is closed. What is in a pod's directory
//! is out of reach with it; the spec has secrets, and is closed for itself.

use std::io;
use std::path::Path;

use linkspan_files::{Access, close};

use super::Stored;
use crate::container::record::ContainerRecord;
use crate::layout::Layout;
use crate::user_namespace;

/// Blocking. Trouble with one pod is told, and keeps nobody else's open.
pub(super) fn run(layout: &Layout, stored: &Stored) {
    for sandbox in stored.sandboxes.iter().map(|found| &found.record) {
        let users = user_namespace::of(&sandbox.config);
        let access = user_namespace::access(users.map(|users| users.host_id));
        set(&layout.pod_dir(&sandbox.id), access);
        set(&layout.bundles_dir(&sandbox.id), access);
        let of_pod = |container: &&ContainerRecord| container.sandbox_id == sandbox.id;
        for container in stored.containers.iter().map(|found| &found.record).filter(of_pod) {
            let bundle = layout.bundle(&sandbox.id, &container.id);
            set(&bundle, access);
            set(&bundle.join("config.json"), access);
        }
    }
}

/// Not there: as good.
fn set(path: &Path, access: Access) {
    match close(path, access) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "left open to others: its mode could not be set");
        }
        _ => {}
    }
}
