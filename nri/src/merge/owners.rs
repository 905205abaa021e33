//! Who has set what.

use crate::api::{Field, FieldOwners, OwningPlugins};
use crate::error::Error;

/// Stands before the name of a plugin that took something away: it alone may set it anew.
const TAKEN_AWAY: &str = "-";

/// One thing that a plugin sets: a field, and the entry of it where a field has several.
pub(crate) type Claim = (Field, Option<String>);

/// Owners by container, field and entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owners {
    all: OwningPlugins,
}

impl Owners {
    pub(crate) fn as_message(&self) -> OwningPlugins {
        self.all.clone()
    }

    /// Who has set it.
    #[must_use]
    pub fn of(&self, container: &str, field: Field, key: Option<&str>) -> Option<&str> {
        let owner = self.entry(container, field, key)?;
        (!owner.starts_with(TAKEN_AWAY)).then_some(owner)
    }

    /// # Errors
    /// [`Error::Conflict`] if it is somebody else's.
    pub(crate) fn claim(&mut self, container: &str, claim: &Claim, plugin: &str) -> Result<(), Error> {
        self.check(container, claim, plugin)?;
        self.set(container, claim, plugin.to_owned());
        Ok(())
    }

    /// All of them, or none.
    pub(crate) fn claim_all(&mut self, container: &str, claims: &[Claim], plugin: &str) -> Result<(), Error> {
        claims.iter().try_for_each(|claim| self.check(container, claim, plugin))?;
        claims.iter().for_each(|claim| self.set(container, claim, plugin.to_owned()));
        Ok(())
    }

    /// What was there is taken away by `plugin`, whoever set it.
    pub(crate) fn clear(&mut self, container: &str, claim: &Claim, plugin: &str) {
        self.set(container, claim, format!("{TAKEN_AWAY}{plugin}"));
    }

    /// For what several plugins may add to.
    pub(crate) fn share(&mut self, container: &str, field: Field, plugin: &str) {
        let owner = match self.of(container, field, None) {
            Some(others) => format!("{others},{plugin}"),
            None => plugin.to_owned(),
        };
        self.set(container, &(field, None), owner);
    }

    fn check(&self, container: &str, (field, key): &Claim, plugin: &str) -> Result<(), Error> {
        let Some(owner) = self.entry(container, *field, key.as_deref()) else { return Ok(()) };
        let other = match owner.strip_prefix(TAKEN_AWAY) {
            Some(who) if who == plugin => return Ok(()),
            Some(who) => who,
            None => owner,
        };
        let name = field.as_str_name();
        Err(Error::Conflict {
            plugin: plugin.to_owned(),
            other: other.to_owned(),
            field: key.as_ref().map_or_else(|| name.to_owned(), |key| format!("{name} {key}")),
            container_id: container.to_owned(),
        })
    }

    fn entry(&self, container: &str, field: Field, key: Option<&str>) -> Option<&str> {
        let FieldOwners { simple, compound } = self.all.owners.get(container)?;
        let owner = match key {
            None => simple.get(&(field as i32)),
            Some(key) => compound.get(&(field as i32)).and_then(|entries| entries.owners.get(key)),
        };
        owner.map(String::as_str)
    }

    fn set(&mut self, container: &str, (field, key): &Claim, owner: String) {
        let fields = self.all.owners.entry(container.to_owned()).or_default();
        match key {
            None => fields.simple.insert(*field as i32, owner),
            Some(key) => fields.compound.entry(*field as i32).or_default().owners.insert(key.clone(), owner),
        };
    }
}
