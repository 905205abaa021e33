//! Mounts whose owners are mapped (CRI `Mount.uidMappings`, `gidMappings`).

use linkspan_image::{IdMap, Mappable};
use linkspan_runtime_oci::spec::{self, MountOwners};

use crate::container::create::facts::Facts;
use crate::error::Error;
use crate::model::{IdMapping, Mount};

/// All of a pod's users.
pub(in super::super) fn whole(users: IdMap) -> spec::IdMapping {
    spec::IdMapping { container_id: 0, host_id: users.host_id, size: users.length }
}

/// What the runtime is told; refused where it could not do it, or the kernel or the file system cannot.
pub(super) fn decide(index: usize, mount: &Mount, facts: &Facts) -> Result<Option<MountOwners>, Error> {
    if mount.uid_mappings.is_empty() {
        return Ok(None);
    }
    let bad = |reason: String| Err(Error::bad(format!("config.mounts[{index}].uidMappings"), reason));
    if !facts.features.idmapped_mounts {
        let reason =
            "the runtime does not tell of ID-mapped mounts in its `features`; runc 1.2 and crun 1.21 do";
        return bad(reason.to_owned());
    }
    let all = match facts.mappable.get(index) {
        Some(Some(Err(reason))) => return bad(reason.clone()),
        Some(Some(Ok(mappable))) => *mappable == Mappable::All,
        Some(None) | None => false,
    };
    Ok(Some(MountOwners {
        uid_mappings: mappings(&mount.uid_mappings),
        gid_mappings: mappings(&mount.gid_mappings),
        option: option(facts, all),
    }))
}

/// Mounts below the volume are mapped too where all of them and the runtime can. A runtime that lists neither option goes
/// by the mappings alone.
fn option(facts: &Facts, all: bool) -> Option<String> {
    let known = |name: &str| facts.features.mount_options.iter().any(|option| option == name);
    let options = [("ridmap", all), ("idmap", true)];
    options.into_iter().find(|(name, fits)| *fits && known(name)).map(|(name, _)| name.to_owned())
}

fn mappings(mappings: &[IdMapping]) -> Vec<spec::IdMapping> {
    let convert = |mapping: &IdMapping| spec::IdMapping {
        container_id: mapping.container_id,
        host_id: mapping.host_id,
        size: mapping.length,
    };
    mappings.iter().map(convert).collect()
}
