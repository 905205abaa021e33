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

use std::sync::Arc;

use crate::checkpoint;
use crate::container::record::ContainerRecord;
use crate::container::state as container;
use crate::error::Error;
use crate::pods::Inner;
use crate::records::{Found, Records};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state as sandbox;
use crate::table::{Snapshot, Table, blocking};

/// All records that verify.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) sandboxes: Vec<Found<SandboxRecord>>,
    pub(crate) containers: Vec<Found<ContainerRecord>>,
}

/// Reads the records. Half-made things do not become visible.
pub(crate) async fn load(records: Records) -> Result<(Arc<Table>, Stored), Error> {
    blocking("loading records", move || {
        let stored = Stored { sandboxes: records.load()?.records, containers: records.load()?.records };
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

/// Brings the world and the table in line. One object's trouble does not keep the others, or the daemon, down.
pub(crate) async fn run(inner: &Arc<Inner>, stored: Stored) -> Result<(), Error> {
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
    collect::run(inner).await;
    Ok(())
}
