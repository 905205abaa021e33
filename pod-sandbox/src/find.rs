//! From the ID in a request, perhaps shortened, to the object.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;
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
    let found = by_prefix(&snapshot.sandboxes, id)?;
    found.ok_or_else(|| Error::NoSuchSandbox(id.to_owned()))
}

/// # Errors
/// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::BadConfig`] for the empty ID.
pub(crate) fn container(snapshot: &Snapshot, id: &str) -> Result<Arc<ContainerRecord>, Error> {
    check("container_id", id)?;
    let found = by_prefix(&snapshot.containers, id)?;
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

fn by_prefix<Id: Ord + Borrow<str>, T>(
    column: &BTreeMap<Id, Arc<T>>,
    prefix: &str,
) -> Result<Option<Arc<T>>, Error> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    let mut matches = column.range::<str, _>(from).take_while(|(id, _)| (*id).borrow().starts_with(prefix));
    match (matches.next(), matches.next()) {
        (Some(_), Some(_)) => Err(Error::Ambiguous { id: prefix.to_owned() }),
        (found, _) => Ok(found.map(|(_, record)| Arc::clone(record))),
    }
}
