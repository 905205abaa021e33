//! Changes of containers that exist.

use std::collections::BTreeMap;

use super::owners::Owners;
use super::resources;
use crate::api::{ContainerUpdate, LinuxResources};
use crate::error::Error;
use crate::oci::refused_in_updates;

/// What plugins want of other containers, one update for each of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Updating {
    updates: Vec<Merged>,
    at: BTreeMap<String, usize>,
}

/// An update, and who had a hand in it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    pub(crate) update: ContainerUpdate,
    pub(crate) plugins: Vec<String>,
}

impl Updating {
    /// Takes the wishes of one plugin. `creating` cannot be updated yet; of `updating`, what is wanted goes into its own
    /// request.
    pub(crate) fn take(
        &mut self,
        owners: &mut Owners,
        plugin: &str,
        wanted: Vec<ContainerUpdate>,
        creating: Option<&str>,
        mut updating: Option<(&str, &mut LinuxResources)>,
    ) -> Result<(), Error> {
        for update in wanted {
            let id = update.container_id.as_str();
            if creating == Some(id) {
                let reason = "is just being created: an adjustment says what it shall be";
                return Err(Error::refused(plugin, format!("update of container {id}"), reason));
            }
            let Some(limits) = update.linux.as_ref().and_then(|linux| linux.resources.as_ref()) else {
                continue;
            };
            let fits = match refused_in_updates(&update) {
                Some(reason) => Err(Error::refused(plugin, format!("update of container {id}"), reason)),
                None => owners.claim_all(id, &resources::claims(limits), plugin),
            };
            match fits {
                Ok(()) => {}
                Err(_) if update.ignore_failure => continue,
                Err(error) => return Err(error),
            }
            match &mut updating {
                Some((own, request)) if *own == id => resources::overlay(limits, request),
                _ => self.merge(&update, limits, plugin),
            }
        }
        Ok(())
    }

    fn merge(&mut self, update: &ContainerUpdate, limits: &LinuxResources, plugin: &str) {
        let id = &update.container_id;
        let at = *self.at.entry(id.clone()).or_insert_with(|| {
            self.updates.push(Merged {
                update: ContainerUpdate { container_id: id.clone(), linux: None, ignore_failure: true },
                plugins: Vec::new(),
            });
            self.updates.len() - 1
        });
        let merged = &mut self.updates[at];
        merged.plugins.push(plugin.to_owned());
        // One that minds is enough.
        merged.update.ignore_failure &= update.ignore_failure;
        let linux = merged.update.linux.get_or_insert_default();
        resources::overlay(limits, linux.resources.get_or_insert_default());
    }

    /// In the order in which containers were first named.
    pub(crate) fn messages(&self) -> Vec<ContainerUpdate> {
        self.updates.iter().map(|merged| merged.update.clone()).collect()
    }

    pub(crate) fn into_updates(self) -> Vec<Merged> {
        self.updates
    }
}
