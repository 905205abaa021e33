//! The node's pod ranges (CRI UpdateRuntimeConfig), on disk too: the kubelet tells them when they change, and nothing to a
//! daemon that was started anew.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::super::Error;
use crate::error::Error as OfRecords;
use crate::locks::lock;
use crate::records::{Recorded, Records};
use crate::table::blocking;

const NAME: &str = "pod-ranges";

/// Clones are the same ranges.
#[derive(Clone, Debug)]
pub(super) struct PodRanges {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    records: Records,
    known: RwLock<Vec<String>>,
    /// Held while one is written.
    writer: Mutex<()>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct PodRangesRecord {
    cidrs: Vec<String>,
}

impl Recorded for PodRangesRecord {
    const DIR: &'static str = "node";

    fn name(&self) -> &str {
        NAME
    }
}

impl PodRanges {
    /// With those that an earlier daemon was told.
    pub(super) async fn open(state_dir: &Path) -> Result<Self, Error> {
        let dir = state_dir.to_owned();
        let opened = blocking("reading the node's pod ranges", move || {
            let records = Records::open(&dir)?;
            let known = records.get::<PodRangesRecord>(NAME)?.map(|record| record.cidrs).unwrap_or_default();
            Ok(Self {
                inner: Arc::new(Inner { records, known: RwLock::new(known), writer: Mutex::default() }),
            })
        });
        opened.await.map_err(of_network)
    }

    pub(super) fn get(&self) -> Vec<String> {
        // A lock that a panic left behind still holds a good list.
        self.inner.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// They count at once. An error says that they are not on disk, and the kubelet tells them again.
    pub(super) async fn set(&self, cidrs: Vec<String>) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let written = blocking("recording the node's pod ranges", move || {
            let _writer = lock(&inner.writer);
            inner.known.write().unwrap_or_else(PoisonError::into_inner).clone_from(&cidrs);
            inner.records.write(&PodRangesRecord { cidrs })
        });
        written.await.map_err(of_network)
    }
}

fn of_network(error: OfRecords) -> Error {
    match error {
        OfRecords::Store { what, path, source } => Error::Io { what, path, source },
        error => Error::Lost { what: error.to_string() },
    }
}
