//! The layers of one image: fetched and unpacked in parallel, published bottom first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Puller;
use super::flight::{Flight, Turn};
use super::meter::Meter;
use super::reader::{self, Writer};
use crate::layer::{LayerStore, Name, StagedLayer};
use crate::manifest::Descriptor;
use crate::registry::{Blob, Session};
use crate::store::blocking;
use crate::{Digest, Error};

/// Transfers of one layer that ended with wrong content before it is given up.
const MAX_TRANSFERS: usize = 2;

/// One layer of the image.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) blob: Descriptor,
    pub(super) diff_id: Digest,
    pub(super) chain_id: Digest,
    pub(super) content: Content,
}

/// What the blob is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A tar stream, compressed or not, to be unpacked.
    Archive,
    /// A file of an artifact, kept as it is under this name.
    File(Name),
}

/// What is needed to bring layers in.
pub(super) struct Layers<'a> {
    pub(super) puller: &'a Puller,
    pub(super) store: &'a LayerStore,
    pub(super) session: &'a Arc<Session>,
    pub(super) meter: &'a Meter,
}

/// The part of it that the task of one layer takes along.
struct Fetch {
    layer: Layer,
    flight: Flight,
    slots: Arc<Semaphore>,
    store: LayerStore,
    session: Arc<Session>,
    meter: Meter,
}

/// A layer after its task: there already, or waiting to be published.
enum Ready {
    Present,
    Staged(StagedLayer, Turn),
}

impl Layers<'_> {
    /// Brings in what is missing of `layers`, bottom first; all are published when it returns. The first
    /// failure ends the others. The caller holds the chain IDs.
    pub(super) async fn fetch(&self, layers: Vec<Layer>) -> Result<(), Error> {
        let missing = layers.iter().filter(|layer| !self.store.has(&layer.chain_id));
        self.meter.expect(layers.len(), missing.map(|layer| layer.blob.size).sum());
        // Dropped with the set, tasks end: their readers see the writer vanish.
        let mut tasks = JoinSet::new();
        let chain_ids: Vec<Digest> = layers.iter().map(|layer| layer.chain_id.clone()).collect();
        for (place, layer) in layers.into_iter().enumerate() {
            let fetch = Fetch {
                layer,
                flight: self.puller.flight.clone(),
                slots: self.puller.slots.clone(),
                store: self.store.clone(),
                session: self.session.clone(),
                meter: self.meter.clone(),
            };
            tasks.spawn(async move { (place, fetch.run().await) });
        }
        let mut ready: Vec<Option<Ready>> = chain_ids.iter().map(|_| None).collect();
        let mut next = 0;
        while let Some(joined) = tasks.join_next().await {
            let lost = |_| Error::TaskLost { what: "fetching a layer".to_owned() };
            let (place, result) = joined.map_err(lost)?;
            ready[place] = Some(result?);
            while let Some(layer) = ready.get_mut(next).and_then(Option::take) {
                let parent = next.checked_sub(1).map(|below| chain_ids[below].clone());
                self.publish(layer, parent, chain_ids[next].clone()).await?;
                self.meter.layer_done();
                next += 1;
            }
        }
        Ok(())
    }

    async fn publish(&self, layer: Ready, parent: Option<Digest>, chain_id: Digest) -> Result<(), Error> {
        let Ready::Staged(staged, turn) = layer else { return Ok(()) };
        let store = self.store.clone();
        blocking("publishing a layer", move || {
            // Whoever waits for its turn finds the layer published.
            let _turn = turn;
            store.publish(staged, parent.as_ref(), &chain_id).map(drop)
        })
        .await
    }
}

impl Fetch {
    async fn run(self) -> Result<Ready, Error> {
        let was_missing = !self.store.has(&self.layer.chain_id);
        let turn = self.flight.turn(&self.layer.chain_id).await;
        if self.store.has(&self.layer.chain_id) {
            if was_missing {
                self.meter.spared(self.layer.blob.size);
            }
            return Ok(Ready::Present);
        }
        let mut transfer = 1;
        loop {
            let error = match self.transfer(transfer).await {
                Ok(staged) => return Ok(Ready::Staged(staged, turn)),
                Err(error) => error,
            };
            if transfer == MAX_TRANSFERS || !is_wrong_content(&error) {
                return Err(error);
            }
            tracing::warn!(%error, layer = %self.layer.blob.digest, "layer is fetched again");
            transfer += 1;
        }
    }

    /// Fetches and unpacks the layer once, with the next host in turn on each try.
    async fn transfer(&self, number: usize) -> Result<StagedLayer, Error> {
        // Never closed.
        let slot = self.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| Error::TaskLost { what: "fetching a layer".to_owned() })?;
        let blob = self.session.blob(&self.layer.blob, number - 1);
        let (writer, reader) = reader::pipe();
        let (store, layer) = (self.store.clone(), self.layer.clone());
        let unpacking = blocking("unpacking a layer", move || {
            // With the work, not with its caller: what is given up still runs for a moment.
            let _slot = slot;
            match &layer.content {
                Content::Archive => store.unpack(reader, &layer.blob, &layer.diff_id),
                Content::File(name) => store.take_file(reader, &layer.blob, name),
            }
        });
        tokio::pin!(unpacking);
        let received = AtomicU64::new(0);
        let unpacked = tokio::select! {
            // A bad layer is known before its last byte: the rest is not waited for.
            unpacked = &mut unpacking => unpacked,
            () = self.pump(blob, writer, &received) => unpacking.await,
        };
        unpacked.inspect_err(|_| self.meter.took_back(received.into_inner()))
    }

    /// Moves bytes from the registry to the extractor until either ends.
    async fn pump(&self, mut blob: Blob, writer: Writer, received: &AtomicU64) {
        let result = loop {
            match blob.next().await {
                Ok(Some(bytes)) => {
                    received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    self.meter.received(bytes.len() as u64);
                    if !writer.send(bytes).await {
                        return;
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        writer.finish(result).await;
    }
}

/// Another transfer, from another host if there is one, may bring the right bytes. A layer that has the right
/// digest and is bad nevertheless stays so.
fn is_wrong_content(error: &Error) -> bool {
    matches!(error, Error::DigestMismatch { .. } | Error::SizeMismatch { .. })
}
