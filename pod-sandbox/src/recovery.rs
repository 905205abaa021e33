//! What an earlier daemon left is taken over, or cleared away: facts → plan → apply.
//!
//! ```text
//! records ─┐
//! monitors ┼─▶ per pod and container: adopt, or record its end ─▶ requests are served
//! exits ───┘                          or undo, clean up, in the background
//! ```
//! Before requests are served nothing is done that waits for others: a plugin, a runtime or a disk that does not answer keeps no pod
//! from being told of. What is undone is invisible, and holds no name.
//!
//! A daemon may be killed at any instant; the next one must come to a state from which Stop and Remove succeed
//! (ARCHITECTURE.md, invariant 6).

mod apply;
mod close;
mod facts;
mod late;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint;
use crate::container::record::ContainerRecord;
use crate::container::state as container;
use crate::error::Error;
use crate::pods::Inner;
use crate::records::{Found, Loaded, Records};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state as sandbox;
use crate::table::{Ids, Snapshot, Table, blocking};

/// The start waits so long for what a crash left frozen to go on; after that it is done behind.
const THAWED: Duration = Duration::from_secs(2);

/// All records.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) sandboxes: Vec<Found<SandboxRecord>>,
    pub(crate) containers: Vec<Found<ContainerRecord>>,
}

/// Reads the records. Half-made things do not become visible.
pub(crate) async fn load(records: Records) -> Result<(Arc<Table>, Stored), Error> {
    blocking("loading records", move || {
        let (stored, left) = stored(records.load()?, records.load()?);
        let (mut made, mut half_made) = (Snapshot::default(), Snapshot::default());
        for Found { record, .. } in &stored.sandboxes {
            let is_made = record.state != sandbox::State::Creating;
            let snapshot = if is_made { &mut made } else { &mut half_made };
            snapshot.sandboxes.insert(record.id.clone(), Arc::new(record.clone()));
        }
        for Found { record, .. } in &stored.containers {
            // Without its sandbox there is no way to it; it is undone.
            let is_made =
                record.state != container::State::Creating && made.sandboxes.contains_key(&record.sandbox_id);
            let snapshot = if is_made { &mut made } else { &mut half_made };
            snapshot.containers.insert(record.id.clone(), Arc::new(record.clone()));
        }
        Ok((Table::of(records, made, half_made, left), stored))
    })
    .await
}

fn stored(sandboxes: Loaded<SandboxRecord>, containers: Loaded<ContainerRecord>) -> (Stored, Ids) {
    let mut left = Ids { sandboxes: sandboxes.left, containers: containers.left };
    // With those whose sandbox is left, whoever wrote their own records.
    let (of_left, containers): (Vec<_>, Vec<_>) = containers
        .records
        .into_iter()
        .partition(|found| left.sandboxes.contains(found.record.sandbox_id.as_str()));
    left.containers.extend(of_left.into_iter().map(|found| found.record.id.to_string()));
    (Stored { sandboxes: sandboxes.records, containers }, left)
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
    let thawing = Arc::clone(inner);
    let thawed = inner.tasks.spawn(async move { checkpoint::collect(&thawing).await });
    let _ = tokio::time::timeout(THAWED, thawed).await;
    let facts = facts::read(inner, stored).await;
    let plan = plan::decide(&facts);
    apply::run(inner, facts, plan).await;
    Ok(())
}
