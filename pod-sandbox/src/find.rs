//! From the ID in a request, perhaps shortened, to the object.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::container::record::ContainerRecord;
use crate::error::Error;
use crate::sandbox::record::SandboxRecord;
use crate::table::Snapshot;

/// Longer than any ID: no need to search for it, or to print all of it.
const LONGEST: usize = 64;

/// # Errors
/// [`Error::NoSuchSandbox`], [`Error::Ambiguous`]; [`Error::BadConfig`] for the empty ID.
pub(crate) fn sandbox(snapshot: &Snapshot, id: &str) -> Result<Arc<SandboxRecord>, Error> {
    check("pod_sandbox_id", id)?;
    let found = by_prefix(&snapshot.sandboxes, id, |record| record.id.as_str())?;
    found.ok_or_else(|| Error::NoSuchSandbox(id.to_owned()))
}

/// # Errors
/// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::BadConfig`] for the empty ID.
pub(crate) fn container(snapshot: &Snapshot, id: &str) -> Result<Arc<ContainerRecord>, Error> {
    check("container_id", id)?;
    let found = by_prefix(&snapshot.containers, id, |record| record.id.as_str())?;
    found.ok_or_else(|| Error::NoSuchContainer(id.to_owned()))
}

/// For Stop and Remove, which succeed on what is not there (CRI): an unknown ID is `None`, other errors stay.
pub(crate) fn if_there<T>(found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(Error::NoSuchSandbox(_) | Error::NoSuchContainer(_)) => Ok(None),
        found => found.map(Some),
    }
}

fn check(field: &str, id: &str) -> Result<(), Error> {
    match id.len() {
        0 => Err(Error::bad(field, "is empty")),
        1..=LONGEST => Ok(()),
        length => Err(Error::bad(field, format!("is {length} bytes long; an ID has {LONGEST}"))),
    }
}

fn by_prefix<Id: Ord, T>(
    column: &BTreeMap<Id, Arc<T>>,
    prefix: &str,
    id: impl Fn(&T) -> &str,
) -> Result<Option<Arc<T>>, Error> {
    let mut matches = column.values().filter(|record| id(record).starts_with(prefix));
    match (matches.next(), matches.next()) {
        (Some(_), Some(_)) => Err(Error::Ambiguous { id: prefix.to_owned() }),
        (found, _) => Ok(found.cloned()),
    }
}
