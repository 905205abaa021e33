//! Namespaces and ID mappings.

use oci_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType};

use super::input::{IdMapping, NamespaceInput, Namespaces};
use crate::error::Error;

pub(super) fn namespaces(input: &Namespaces) -> Result<Vec<LinuxNamespace>, Error> {
    use LinuxNamespaceType as Kind;
    let all = [
        (Kind::Pid, "pid", &input.pid),
        (Kind::Network, "network", &input.network),
        (Kind::Ipc, "ipc", &input.ipc),
        (Kind::Uts, "uts", &input.uts),
        (Kind::Mount, "mount", &input.mount),
        (Kind::Cgroup, "cgroup", &input.cgroup),
        (Kind::User, "user", &input.user),
    ];
    let mut entries = Vec::with_capacity(all.len());
    for (kind, name, wanted) in all {
        let path = match wanted {
            NamespaceInput::Host => continue,
            NamespaceInput::New => None,
            NamespaceInput::Path(path) if path.is_absolute() => Some(path.clone()),
            NamespaceInput::Path(path) => {
                return Err(Error::bad(format!("namespaces.{name}"), format!("{path:?} is not absolute")));
            }
        };
        let mut entry = LinuxNamespace::default();
        entry.set_typ(kind).set_path(path);
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) fn mappings(mappings: &[IdMapping]) -> Result<Option<Vec<LinuxIdMapping>>, Error> {
    let entries: Vec<LinuxIdMapping> = mappings.iter().map(mapping).collect::<Result<_, _>>()?;
    Ok((!entries.is_empty()).then_some(entries))
}

fn mapping(input: &IdMapping) -> Result<LinuxIdMapping, Error> {
    LinuxIdMappingBuilder::default()
        .container_id(input.container_id)
        .host_id(input.host_id)
        .size(input.size)
        .build()
        .map_err(|error| Error::bad("user_namespace", error.to_string()))
}
