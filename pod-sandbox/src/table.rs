//! All sandboxes and containers: one immutable snapshot in memory, a record each on disk.
//!
//! A decision is written to disk first, then becomes the snapshot, then is told as an event. What has happened already
//! ([`Table::observe`]) is true whatever the disk says: it becomes the snapshot and is told at once, and is written as
//! soon as it can be. Reads take the snapshot and wait for nobody. The disk is waited for in the turn of one record (`entry.rs`):
//! one that hangs holds up nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use linkspan_runtime_oci::Timestamp;
use tokio::sync::{broadcast, oneshot, watch};

use crate::container::record::ContainerRecord;
use crate::container::state as container;
use crate::entry::{ContainerEntry, ContainerLive, Entry, PodEntry, PodLive};
use crate::error::Error;
use crate::events::{Event, EventKind, Pod};
use crate::locks::lock;
use crate::model::{ContainerId, SandboxId};
use crate::operations::stage;
use crate::records::{Recorded, Records};
use crate::sandbox::record::SandboxRecord;
use crate::sandbox::state as sandbox;

/// A listener that falls behind by so many events misses some, and is told so.
const EVENT_BACKLOG: usize = 1024;
/// Who notes what has happened waits so long for the disk.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Before what could not be written is tried again; twice as long after each further time in vain.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One moment's view. Things that are still being made are not in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) sandboxes: BTreeMap<SandboxId, Arc<SandboxRecord>>,
    pub(crate) containers: BTreeMap<ContainerId, Arc<ContainerRecord>>,
}

/// By kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) sandboxes: BTreeSet<String>,
    pub(crate) containers: BTreeSet<String>,
}

/// A kind of record that the table holds.
pub(crate) trait Tabled: Recorded + Send + Sync + 'static {
    type Id: Ord + Clone + ToString + Send + 'static;
    type Live: Default + Send + Sync + 'static;
    fn id(&self) -> &Self::Id;
    fn entry(&self) -> &Entry<Self::Live>;
    fn column(snapshot: &Snapshot) -> &BTreeMap<Self::Id, Arc<Self>>;
    fn column_mut(snapshot: &mut Snapshot) -> &mut BTreeMap<Self::Id, Arc<Self>>;
    /// What to tell of a change from `before`.
    fn events(before: Option<&Self>, after: Option<&Self>) -> &'static [EventKind];
    /// The sandbox that it is, or is in.
    fn sandbox(self: &Arc<Self>, snapshot: &Snapshot) -> Option<Arc<SandboxRecord>>;
}

/// Writes one as it is now; one that has been removed needs nothing.
type Rewrite = fn(&Table, &str) -> Result<(), Error>;

/// The face of it; shared.
#[derive(Debug)]
pub(crate) struct Table {
    records: Records,
    /// Held from reading the snapshot to replacing it; never while the disk is waited for.
    writer: Mutex<()>,
    /// What is known and not on disk yet: how to write it, by directory and name.
    unwritten: Mutex<BTreeMap<(&'static str, String), Rewrite>>,
    snapshot: RwLock<Arc<Snapshot>>,
    /// What is being made, or undone: invisible, and yet it uses what it uses.
    announced: Mutex<Snapshot>,
    /// IDs of containers that are about to be announced, and have files already.
    reserved: Mutex<BTreeSet<ContainerId>>,
    /// What records of another version are about: nothing of it is touched (ADR 14).
    left: Ids,
    events: broadcast::Sender<Event>,
    /// When the latest event was, in nanoseconds; written by the writer alone.
    told_at: AtomicI64,
}

impl Table {
    #[cfg(test)]
    pub(crate) fn new(records: Records, snapshot: Snapshot) -> Arc<Self> {
        Self::of(records, snapshot, Snapshot::default(), Ids::default())
    }

    /// `half_made` is what an earlier daemon had announced, `left` what another version's records are about.
    pub(crate) fn of(records: Records, snapshot: Snapshot, half_made: Snapshot, left: Ids) -> Arc<Self> {
        Arc::new(Self {
            records,
            writer: Mutex::new(()),
            unwritten: Mutex::default(),
            snapshot: RwLock::new(Arc::new(snapshot)),
            announced: Mutex::new(half_made),
            reserved: Mutex::default(),
            left,
            events: broadcast::Sender::new(EVENT_BACKLOG),
            told_at: AtomicI64::new(0),
        })
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Waits until a snapshot has what `wanted` looks for, which is about the record that `changed` rings for.
    pub(crate) async fn wait_for<T>(
        &self,
        changed: &watch::Sender<()>,
        mut wanted: impl FnMut(&Snapshot) -> Option<T>,
    ) -> T {
        let mut changed = changed.subscribe();
        loop {
            if let Some(found) = wanted(&self.snapshot()) {
                return found;
            }
            // Fails only when the sender is gone, and that is the caller's.
            let _ = changed.changed().await;
        }
    }

    /// Writes a record of something that is about to be made; it stays invisible.
    pub(crate) async fn announce<T: Tabled + Clone>(self: &Arc<Self>, record: &T) -> Result<(), Error> {
        let (table, record) = (Arc::clone(self), record.clone());
        blocking("writing a record", move || {
            table.records.write(&record)?;
            T::column_mut(&mut table.announced()).insert(record.id().clone(), Arc::new(record));
            Ok(())
        })
        .await
    }

    /// Whether any container, also one that is being made, fits.
    pub(crate) fn has_container(&self, fits: impl Fn(&ContainerRecord) -> bool) -> bool {
        // In this order: one that is there by now is no longer announced.
        let is_announced = self.announced().containers.values().any(|record| fits(record));
        is_announced || self.snapshot().containers.values().any(|record| fits(record))
    }

    /// Until it is announced it is known nevertheless.
    pub(crate) fn reserve(self: &Arc<Self>, id: &ContainerId) -> Reservation {
        lock(&self.reserved).insert(id.clone());
        Reservation { table: Arc::clone(self), id: id.clone() }
    }

    /// All that has a record. Whatever a pod or container holds, it holds while it is in here: what was found on the host before
    /// this was asked, and is not in here, is nobody's.
    pub(crate) fn known(&self) -> Ids {
        let mut known = self.left.clone();
        // In this order: one that is there by now is no longer announced, or reserved.
        let reserved = lock(&self.reserved).clone();
        known.containers.extend(reserved.iter().map(ToString::to_string));
        let all = self.with_half_made();
        known.sandboxes.extend(all.sandboxes.keys().map(ToString::to_string));
        known.containers.extend(all.containers.keys().map(ToString::to_string));
        known
    }

    /// What is live of a pod, also of one that is half made.
    pub(crate) fn pod_entry(&self, id: &SandboxId) -> Option<PodEntry> {
        // In this order: one that is there by now is no longer announced.
        let announced = self.announced().sandboxes.get(id).map(|record| record.entry.clone());
        announced.or_else(|| self.snapshot().sandboxes.get(id).map(|record| record.entry.clone()))
    }

    /// Those that are made, and those that are being made or undone.
    pub(crate) fn with_half_made(&self) -> Snapshot {
        // In this order: one that is there by now is no longer announced.
        let mut all = self.announced().clone();
        let made = self.snapshot();
        all.sandboxes.extend(made.sandboxes.iter().map(|(id, record)| (id.clone(), Arc::clone(record))));
        all.containers.extend(made.containers.iter().map(|(id, record)| (id.clone(), Arc::clone(record))));
        all
    }

    /// Takes back [`Table::announce`].
    pub(crate) async fn withdraw<T: Tabled>(self: &Arc<Self>, id: T::Id) -> Result<(), Error> {
        let table = Arc::clone(self);
        blocking("removing a record", move || {
            table.records.remove::<T>(&id.to_string())?;
            T::column_mut(&mut table.announced()).remove(&id);
            Ok(())
        })
        .await
    }

    /// Adds or replaces.
    pub(crate) async fn put<T: Tabled>(self: &Arc<Self>, record: T) -> Result<Arc<T>, Error> {
        self.put_if(record, |_| Ok(())).await
    }

    /// Adds or replaces, if `check` has nothing against it as things are at that moment, before and after it is written. What it
    /// refuses after that is to be withdrawn.
    pub(crate) async fn put_if<T: Tabled>(
        self: &Arc<Self>,
        record: T,
        check: impl Fn(&Snapshot) -> Result<(), Error> + Send + 'static,
    ) -> Result<Arc<T>, Error> {
        let table = Arc::clone(self);
        blocking("writing a record", move || {
            let entry = record.entry().clone();
            let _turn = lock(&entry.writing);
            check(&table.snapshot())?;
            table.write(&record)?;
            let writer = lock(&table.writer);
            check(&table.snapshot())?;
            Ok(table.show(&writer, record))
        })
        .await
    }

    /// Changes one, unless `change` wants it left as it is. Returns what it is then; `None` if it is not there.
    pub(crate) async fn update<T: Tabled>(
        self: &Arc<Self>,
        id: &T::Id,
        change: impl FnOnce(&T) -> Option<T> + Send + 'static,
    ) -> Result<Option<Arc<T>>, Error> {
        let (table, id) = (Arc::clone(self), id.clone());
        blocking("writing a record", move || {
            let Some(entry) = table.entry::<T>(&id) else { return Ok(None) };
            let _turn = lock(&entry.writing);
            let Some(current) = table.get::<T>(&id) else { return Ok(None) };
            let Some(changed) = change(&current) else { return Ok(Some(current)) };
            table.write(&changed)?;
            Ok(Some(table.show(&lock(&table.writer), changed)))
        })
        .await
    }

    /// Changes one, unless `change` wants it left as it is, by what has happened already: no refusal of the disk can undo
    /// it, and a slow disk does not keep it from being seen. Returns what it is then; `None` if it is not there.
    ///
    /// # Errors
    /// If the daemon is ending.
    pub(crate) async fn observe<T: Tabled>(
        self: &Arc<Self>,
        id: &T::Id,
        change: impl FnOnce(&T) -> Option<T> + Send + 'static,
    ) -> Result<Option<Arc<T>>, Error> {
        let (table, id) = (Arc::clone(self), id.clone());
        let (tell, told) = oneshot::channel();
        let written = blocking("noting what has happened", move || {
            let Some(entry) = table.entry::<T>(&id) else { return Ok(()) };
            let _turn = lock(&entry.writing);
            let (is_changed, record) = {
                let writer = lock(&table.writer);
                let Some(current) = table.get::<T>(&id) else { return Ok(()) };
                match change(&current) {
                    Some(changed) => (true, table.show(&writer, changed)),
                    None => (false, current),
                }
            };
            // Whoever waits may have left.
            let _ = tell.send(Arc::clone(&record));
            if is_changed && let Err(error) = table.write(&*record) {
                table.write_later(&record, &error);
            }
            Ok(())
        });
        let written = tokio::spawn(written);
        if let Ok(seen) = told.await {
            // As a rule it is on the disk, too, when this returns.
            let _ = tokio::time::timeout(AT_ONCE, written).await;
            return Ok(Some(seen));
        }
        // It is not there, or the daemon is ending.
        let ended = written
            .await
            .unwrap_or_else(|_| Err(Error::Lost { what: "noting what has happened".to_owned() }));
        ended.map(|()| None)
    }

    /// Removes one, record and all. Gone already: Ok.
    pub(crate) async fn remove<T: Tabled>(self: &Arc<Self>, id: &T::Id) -> Result<(), Error> {
        let (table, id) = (Arc::clone(self), id.clone());
        blocking("removing a record", move || {
            let entry = table.entry::<T>(&id);
            let _turn = entry.as_ref().map(|entry| lock(&entry.writing));
            let name = id.to_string();
            table.records.remove::<T>(&name)?;
            table.unwritten().remove(&(T::DIR, name));
            let _writer = lock(&table.writer);
            let mut next = Snapshot::clone(&table.snapshot());
            if let Some(before) = T::column_mut(&mut next).remove(&id) {
                table.publish(next, &before, T::events(Some(&before), None));
            }
            Ok(())
        })
        .await
    }

    fn get<T: Tabled>(&self, id: &T::Id) -> Option<Arc<T>> {
        T::column(&self.snapshot()).get(id).cloned()
    }

    fn entry<T: Tabled>(&self, id: &T::Id) -> Option<Entry<T::Live>> {
        self.get::<T>(id).map(|record| record.entry().clone())
    }

    /// In its entry's turn.
    fn write<T: Tabled>(&self, record: &T) -> Result<(), Error> {
        self.records.write(record)?;
        self.unwritten().remove(&(T::DIR, record.name().to_owned()));
        Ok(())
    }

    /// In the background, until it is written or removed; the first one begins that.
    fn write_later<T: Tabled>(self: &Arc<Self>, record: &Arc<T>, error: &Error) {
        let name = record.name();
        tracing::error!(
            record = name, %error,
            "a record cannot be written: what has happened is kept in memory, and written when the disk takes it"
        );
        let rewrite: Rewrite = |table, name| {
            let named =
                || T::column(&table.snapshot()).values().find(|record| record.name() == name).cloned();
            let Some(entry) = named().map(|record| record.entry().clone()) else { return Ok(()) };
            let _turn = lock(&entry.writing);
            named().map_or(Ok(()), |record| table.write(&*record))
        };
        let mut unwritten = self.unwritten();
        let is_first = unwritten.is_empty();
        unwritten.insert((T::DIR, name.to_owned()), rewrite);
        if is_first {
            tokio::spawn(catch_up(Arc::downgrade(self)));
        }
    }

    /// Whether all is written.
    fn write_unwritten(&self) -> bool {
        let waiting = self.unwritten().clone();
        for ((dir, name), rewrite) in waiting {
            match rewrite(self, &name) {
                Ok(()) => {
                    self.unwritten().remove(&(dir, name));
                }
                Err(error) => tracing::debug!(record = name, %error, "still not written"),
            }
        }
        self.unwritten().is_empty()
    }

    fn announced(&self) -> MutexGuard<'_, Snapshot> {
        lock(&self.announced)
    }

    fn unwritten(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), Rewrite>> {
        lock(&self.unwritten)
    }

    fn show<T: Tabled>(&self, _writer: &MutexGuard<'_, ()>, record: T) -> Arc<T> {
        let mut next = Snapshot::clone(&self.snapshot());
        let record = Arc::new(record);
        let before = T::column_mut(&mut next).insert(record.id().clone(), Arc::clone(&record));
        self.publish(next, &record, T::events(before.as_deref(), Some(&record)));
        T::column_mut(&mut self.announced()).remove(record.id());
        record
    }

    fn publish<T: Tabled>(&self, next: Snapshot, about: &Arc<T>, kinds: &[EventKind]) {
        let next = Arc::new(next);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&next);
        about.entry().changed.send_replace(());
        // Who comes after this reads the new snapshot and misses nothing.
        if self.events.receiver_count() == 0 || kinds.is_empty() {
            return;
        }
        let Some(sandbox) = about.sandbox(&next) else { return };
        let in_it = next.containers.values().filter(|container| container.sandbox_id == sandbox.id);
        let pod = Pod { containers: in_it.cloned().collect(), sandbox };
        for kind in kinds {
            let at = Timestamp::now().max(Timestamp(self.told_at.load(Ordering::Relaxed) + 1));
            self.told_at.store(at.0, Ordering::Relaxed);
            let id = T::id(about).to_string();
            // Fails only if nobody listens.
            let _ = self.events.send(Event { id, kind: *kind, at, pod: pod.clone() });
        }
    }
}

/// As long as this lives.
#[derive(Debug)]
pub(crate) struct Reservation {
    table: Arc<Table>,
    id: ContainerId,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        lock(&self.table.reserved).remove(&self.id);
    }
}

/// Until nothing is unwritten. The monitors' own records of exits are the durable copy meanwhile.
async fn catch_up(table: Weak<Table>) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        let Some(table) = table.upgrade() else { return };
        match blocking("writing records", move || Ok(table.write_unwritten())).await {
            Ok(false) => {}
            Ok(true) => return tracing::info!("all records are written again"),
            // The daemon is ending.
            Err(_) => return,
        }
    }
}

/// File access off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = stage(what, tokio::task::spawn_blocking(work)).await;
    done.unwrap_or_else(|_| Err(Error::Lost { what: what.to_owned() }))
}

impl Tabled for SandboxRecord {
    type Id = SandboxId;
    type Live = PodLive;

    fn entry(&self) -> &PodEntry {
        &self.entry
    }

    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn column(snapshot: &Snapshot) -> &BTreeMap<SandboxId, Arc<Self>> {
        &snapshot.sandboxes
    }

    fn column_mut(snapshot: &mut Snapshot) -> &mut BTreeMap<SandboxId, Arc<Self>> {
        &mut snapshot.sandboxes
    }

    fn events(before: Option<&Self>, after: Option<&Self>) -> &'static [EventKind] {
        use EventKind::{Created, Deleted, Started, Stopped};
        let was_ready = before.is_some_and(|before| matches!(before.state, sandbox::State::Ready { .. }));
        match (was_ready, after.map(|after| &after.state)) {
            (false, Some(sandbox::State::Ready { .. })) => &[Created, Started],
            (true, Some(sandbox::State::NotReady { .. } | sandbox::State::Stopped { .. })) => &[Stopped],
            (_, None) if before.is_some() => &[Deleted],
            _ => &[],
        }
    }

    fn sandbox(self: &Arc<Self>, _: &Snapshot) -> Option<Arc<Self>> {
        Some(Arc::clone(self))
    }
}

impl Tabled for ContainerRecord {
    type Id = ContainerId;
    type Live = ContainerLive;

    fn entry(&self) -> &ContainerEntry {
        &self.entry
    }

    fn id(&self) -> &ContainerId {
        &self.id
    }

    fn column(snapshot: &Snapshot) -> &BTreeMap<ContainerId, Arc<Self>> {
        &snapshot.containers
    }

    fn column_mut(snapshot: &mut Snapshot) -> &mut BTreeMap<ContainerId, Arc<Self>> {
        &mut snapshot.containers
    }

    fn events(before: Option<&Self>, after: Option<&Self>) -> &'static [EventKind] {
        use EventKind::{Created, Deleted, Started, Stopped};
        use container::State;
        match (before.map(|before| &before.state), after.map(|after| &after.state)) {
            (None, Some(State::Created { .. } | State::AwaitsRestore)) => &[Created],
            (Some(State::Created { .. } | State::AwaitsRestore), Some(State::Running { .. })) => &[Started],
            // It was over before its start could be noted: only now is it known that, and when, it ran.
            (Some(State::Exited(before)), Some(State::Exited(after)))
                if before.started_at != after.started_at =>
            {
                &[Started, Stopped]
            }
            (Some(State::Exited(_)), Some(State::Exited(_))) => &[],
            (Some(_), Some(State::Exited(_))) => &[Stopped],
            (Some(_), None) => &[Deleted],
            _ => &[],
        }
    }

    fn sandbox(self: &Arc<Self>, snapshot: &Snapshot) -> Option<Arc<SandboxRecord>> {
        snapshot.sandboxes.get(&self.sandbox_id).cloned()
    }
}

#[cfg(test)]
mod tests;
