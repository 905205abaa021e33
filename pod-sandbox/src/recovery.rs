//! What an earlier daemon left is taken over, or cleared away: facts → plan → apply.
//!
//! ```text
//! records ─┐
//! monitors ┼─▶ per pod and container: adopt, record its end, or undo ─▶ collect what nobody owns
//! exits ───┘
//! ```
//! A daemon may be killed at any instant; the next one must come to a state from which Stop and Remove succeed
//! (ARCHITECTURE.md, invariant 6).

mod apply;
mod close;
mod collect;
mod facts;
mod late;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::checkpoint;
use crate::container::record::ContainerRecord;
use crate::container::state as container;
use crate::error::Error;
use crate::pods::Inner;
use crate::records::{Found, Loaded, Records};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state as sandbox;
use crate::table::{Snapshot, Table, blocking};

/// All records.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) sandboxes: Vec<Found<SandboxRecord>>,
    pub(crate) containers: Vec<Found<ContainerRecord>>,
    left: Left,
}

/// What the records of another version are about, by ID: nothing of it is touched (ADR 14).
#[derive(Debug, Default)]
struct Left {
    sandboxes: BTreeSet<String>,
    /// With those whose sandbox is left, whoever wrote their own records.
    containers: BTreeSet<String>,
}

/// Reads the records. Half-made things do not become visible.
pub(crate) async fn load(records: Records) -> Result<(Arc<Table>, Stored), Error> {
    blocking("loading records", move || {
        let stored = stored(records.load()?, records.load()?);
        let mut snapshot = Snapshot::default();
        let made = stored.sandboxes.iter().filter(|found| found.record.state != sandbox::State::Creating);
        snapshot.sandboxes =
            made.map(|found| (found.record.id.clone(), Arc::new(found.record.clone()))).collect();
        for Found { record, .. } in &stored.containers {
            // Without its sandbox there is no way to it; it is collected.
            if record.state != container::State::Creating
                && snapshot.sandboxes.contains_key(&record.sandbox_id)
            {
                snapshot.containers.insert(record.id.clone(), Arc::new(record.clone()));
            }
        }
        Ok((Table::new(records, snapshot), stored))
    })
    .await
}

fn stored(sandboxes: Loaded<SandboxRecord>, containers: Loaded<ContainerRecord>) -> Stored {
    let mut left = Left { sandboxes: sandboxes.left, containers: containers.left };
    let (of_left, containers): (Vec<_>, Vec<_>) = containers
        .records
        .into_iter()
        .partition(|found| left.sandboxes.contains(found.record.sandbox_id.as_str()));
    left.containers.extend(of_left.into_iter().map(|found| found.record.id.to_string()));
    Stored { sandboxes: sandboxes.records, containers, left }
}

/// Brings the world and the table in line. One object's trouble does not keep the others, or the daemon, down.
pub(crate) async fn run(inner: &Arc<Inner>, mut stored: Stored) -> Result<(), Error> {
    let left = std::mem::take(&mut stored.left);
    let layout = inner.layout.clone();
    let stored = blocking("closing what others must not reach", move || {
        close::run(&layout, &stored);
        Ok(stored)
    })
    .await?;
    // Nothing stays frozen that an earlier daemon was about to checkpoint.
    checkpoint::collect(inner).await;
    let facts = facts::read(inner, stored).await;
    let plan = plan::decide(&facts);
    apply::run(inner, facts, plan).await;
    collect::run(inner, &left).await;
    Ok(())
}
