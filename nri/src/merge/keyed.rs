//! Lists and maps whose entries have a key, and can be taken away by it.

use std::collections::{BTreeMap, BTreeSet};

use super::owners::Owners;
use crate::api::{Field, KeyValue, LinuxDevice, LinuxNamespace, Mount};
use crate::error::Error;

/// Before a key: take it away.
pub(crate) const REMOVAL: char = '-';

/// An entry of such a list.
pub(crate) trait Keyed: Clone {
    fn key(&self) -> &str;

    /// The key without its mark, and whether it has one.
    fn target(&self) -> (&str, bool) {
        match self.key().strip_prefix(REMOVAL) {
            Some(key) => (key, true),
            None => (self.key(), false),
        }
    }
}

impl Keyed for Mount {
    fn key(&self) -> &str {
        &self.destination
    }
}

impl Keyed for KeyValue {
    fn key(&self) -> &str {
        &self.key
    }
}

impl Keyed for LinuxDevice {
    fn key(&self) -> &str {
        &self.path
    }
}

impl Keyed for LinuxNamespace {
    fn key(&self) -> &str {
        &self.r#type
    }
}

/// An entry of a map.
impl<V: Clone> Keyed for (String, V) {
    fn key(&self) -> &str {
        &self.0
    }
}

/// What one plugin wants of a list.
#[derive(Clone, Debug)]
pub(super) struct Wanted<T> {
    pub(super) added: Vec<T>,
    /// Every key that is set or taken away.
    pub(super) touched: BTreeSet<String>,
}

/// Claims what `wanted` sets, and merges it into `merged`.
pub(super) fn merge<T: Keyed>(
    owners: &mut Owners,
    (container, plugin): (&str, &str),
    field: Field,
    wanted: Vec<T>,
    merged: &mut Vec<T>,
) -> Result<Wanted<T>, Error> {
    let (removals, added): (Vec<T>, Vec<T>) = wanted.into_iter().partition(|entry| entry.target().1);
    for entry in &removals {
        let claim = (field, Some(entry.target().0.to_owned()));
        match field {
            // Two plugins must not pull a namespace to and fro.
            Field::Namespace => owners.claim(container, &claim, plugin)?,
            _ => owners.clear(container, &claim, plugin),
        }
    }
    let gone: BTreeSet<&str> = removals.iter().map(|entry| entry.target().0).collect();
    merged.retain(|entry| !gone.contains(entry.target().0));
    for entry in &added {
        let claim = (field, Some(entry.key().to_owned()));
        let own_removal = field == Field::Namespace && gone.contains(entry.key());
        if !own_removal {
            owners.claim(container, &claim, plugin)?;
        }
    }
    let touched = gone.iter().copied().chain(added.iter().map(Keyed::key)).map(str::to_owned).collect();
    let set: BTreeSet<String> = added.iter().map(|entry| entry.key().to_owned()).collect();
    // Setting anew takes the old away by itself.
    merged.extend(removals.into_iter().filter(|entry| !set.contains(entry.target().0)));
    merged.extend(added.iter().cloned());
    Ok(Wanted { added, touched })
}

/// [`merge`] for maps.
pub(super) fn merge_map<V: Clone>(
    owners: &mut Owners,
    who: (&str, &str),
    field: Field,
    wanted: BTreeMap<String, V>,
    merged: &mut BTreeMap<String, V>,
) -> Result<Wanted<(String, V)>, Error> {
    let mut entries: Vec<(String, V)> = std::mem::take(merged).into_iter().collect();
    let wanted = merge(owners, who, field, wanted.into_iter().collect(), &mut entries);
    *merged = entries.into_iter().collect();
    wanted
}

impl<T: Keyed> Wanted<T> {
    /// What later plugins see.
    pub(super) fn show(&self, list: &mut Vec<T>) {
        list.retain(|entry| !self.touched.contains(entry.key()));
        list.extend(self.added.iter().cloned());
    }
}

impl<V: Clone> Wanted<(String, V)> {
    pub(super) fn show_map(&self, map: &mut BTreeMap<String, V>) {
        map.retain(|key, _| !self.touched.contains(key));
        map.extend(self.added.iter().cloned());
    }
}
