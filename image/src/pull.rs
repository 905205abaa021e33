//! From a reference to a recorded image.
//!
//! ```text
//! resolve ─▶ manifest ─▶ configuration ─▶ layers, in parallel: fetch, verify, unpack ─▶ publish in order ─▶ record
//! ```
//! No compressed blob touches the disk: bytes go from the connection through a short queue into the extractor.
//! A layer that the store has is not fetched; one that another pull is fetching is waited for.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::manifest::{ConfigFile, Descriptor, Document, Index, Manifest, Platform};
use crate::registry::hosts::RegistriesConf;
use crate::registry::{Fetched, Places, Proxies, Session, Settings, Transport, hosts};
use crate::store::blocking;
use crate::store::snapshot::{Artifact, NewImage};
use crate::{Digest, Error, ImageId, Images, PullRequest, PullStage, Reference, RequestCredentials};

mod artifact;
mod flight;
mod layers;
mod meter;
mod reader;
mod running;

use flight::Flight;
use layers::{Content, Layer, Layers};
use meter::Meter;
use running::{Key, Running};

/// An index may point to an index; real ones do so once.
const MAX_INDEX_DEPTH: usize = 3;

/// What pulls share: connections, limits, and each other's work.
pub(crate) struct Puller {
    settings: Settings,
    running: Arc<Running>,
    /// Layers fetched and unpacked at the same time, all pulls together.
    slots: Arc<Semaphore>,
    flight: Flight,
    /// As last read: look-ups of short names do not touch the disk.
    conf: RwLock<Arc<RegistriesConf>>,
}

impl Puller {
    /// Blocking: reads `registries.conf`. One that cannot be read spoils pulls, not the start.
    pub(crate) fn new(config: &linkspan_config::Image) -> Self {
        let default_auth_file = || config.containers_dir.join("auth.json");
        let auth_file: PathBuf = config.auth_file.clone().unwrap_or_else(default_auth_file);
        let conf = RegistriesConf::load(&config.containers_dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "registries cannot be told apart until this is mended");
            RegistriesConf::default()
        });
        Self {
            conf: RwLock::new(Arc::new(conf)),
            settings: Settings {
                places: Places {
                    containers_dir: config.containers_dir.clone(),
                    certs_dirs: config.certs_dirs.clone(),
                },
                auth_file,
                lends_to_mirrors: config.mirror_credentials,
                progress_timeout: config.progress_timeout,
                transport: Transport::new(Proxies::from_environment()),
            },
            running: Arc::default(),
            slots: Arc::new(Semaphore::new(config.max_parallel_layers.max(1))),
            flight: Flight::default(),
        }
    }

    /// What `name` may stand for by the configuration as last read, best first; nothing if it is no reference.
    /// Never waits.
    pub(crate) fn known_candidates(&self, name: &str) -> Vec<Reference> {
        let conf = self.conf.read().unwrap_or_else(PoisonError::into_inner).clone();
        hosts::candidates(&conf, name).unwrap_or_default()
    }

    /// The same after reading the configuration anew. Blocking.
    fn candidates(&self, name: &str) -> Result<Vec<Reference>, Error> {
        let conf = RegistriesConf::load(&self.settings.places.containers_dir)?;
        let candidates = hosts::candidates(&conf, name);
        *self.conf.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(conf);
        candidates
    }
}

impl Images {
    /// Fetches an image. Joins a running pull of the same reference with the same credentials. Cancel safe:
    /// the transfer goes on without its caller.
    ///
    /// Fails with `BadReference`, `NotFound`, `Unauthorized`, `RegistryUnavailable`, `TimedOut`, `NoPlatform`, or
    /// with what is wrong with the content.
    pub async fn pull(&self, request: PullRequest) -> Result<ImageId, Error> {
        let PullRequest { reference, credentials, progress } = request;
        let puller = self.puller.clone();
        let candidates =
            blocking("reading registry configuration", move || puller.candidates(&reference)).await?;
        let images = self.clone();
        let key = Key { candidates: candidates.clone(), credentials: credentials.clone() };
        let work = move |meter| async move { images.pull_first(&candidates, credentials, &meter).await };
        self.puller.running.join(key, progress, work).await
    }

    /// The first candidate that can be had. If there is none, what was wrong with the best of them.
    async fn pull_first(
        &self,
        candidates: &[Reference],
        credentials: Option<RequestCredentials>,
        meter: &Meter,
    ) -> Result<ImageId, Error> {
        let mut first_error = None;
        for reference in candidates {
            match self.pull_one(reference, credentials.clone(), meter).await {
                Ok(id) => return Ok(id),
                Err(error) => {
                    tracing::debug!(%reference, %error, "candidate could not be pulled");
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| Error::NotFound { what: "a name without candidates".to_owned() }))
    }

    async fn pull_one(
        &self,
        reference: &Reference,
        credentials: Option<RequestCredentials>,
        meter: &Meter,
    ) -> Result<ImageId, Error> {
        let since = Instant::now();
        let session = Session::open(&self.puller.settings, reference.clone(), credentials).await?;
        let session = Arc::new(session);
        if let Some(id) = self.unchanged(&session).await {
            tracing::info!(%reference, image_id = %id, "image is up to date");
            return Ok(id);
        }
        let resolved = Resolved::find(&session, &Platform::host()).await?;
        let artifact_type = resolved.manifest.artifact().map(str::to_owned);
        let (config, layers) = match &artifact_type {
            // Nothing reads its configuration, which may be anything of any size.
            Some(_) => (Bytes::new(), artifact::layers(&resolved.manifest.layers, &resolved.what())?),
            None => {
                let config = self.config(&session, &resolved.manifest.config).await?;
                let layers = resolved.layers(&config)?;
                (config, layers)
            }
        };
        let artifact = artifact_type.map(|artifact_type| Artifact {
            artifact_type,
            layers: layers.iter().map(|layer| layer.chain_id.clone()).collect(),
        });
        // Before the first look at what is there: nothing of it may be collected until it is recorded.
        let hold = self.layers().hold(layers.iter().map(|layer| layer.chain_id.clone()));
        meter.stage(PullStage::Fetching);
        let received = Layers { puller: &self.puller, store: self.layers(), session: &session, meter };
        received.fetch(layers).await?;
        meter.stage(PullStage::Recording);
        let new = NewImage {
            reference: Some(reference.clone()),
            manifest_digest: resolved.fetched.digest,
            index_digest: resolved.index_digest,
            manifest: resolved.fetched.bytes,
            config,
            artifact,
        };
        let id = self.record(new).await?;
        drop(hold);
        meter.stage(PullStage::Done);
        let bytes = meter.bytes_done();
        tracing::info!(%reference, image_id = %id, bytes, elapsed = ?since.elapsed(), "image pulled");
        Ok(id)
    }

    /// The image, if we have it under this name and the registry still means the same by it. The registry is
    /// asked even about a digest: the answer says that the credentials are good (KEP-2535).
    async fn unchanged(&self, session: &Session) -> Option<ImageId> {
        let reference = session.reference();
        let image = self.find(&reference.to_string())?;
        let digest = session.head().await?;
        let name = reference.at_digest(digest).to_string();
        image.repo_digests.contains(&name).then(|| image.id.clone())
    }

    /// The image configuration, from another image if that has it.
    async fn config(&self, session: &Session, descriptor: &Descriptor) -> Result<Bytes, Error> {
        match self.find(&descriptor.digest.to_string()) {
            Some(image) => Ok(image.config_json.clone()),
            None => session.small_blob(descriptor).await,
        }
    }
}

/// The manifest for this machine.
struct Resolved {
    fetched: Fetched,
    manifest: Manifest,
    index_digest: Option<Digest>,
    /// The index said that it is for this machine.
    is_chosen: bool,
    host: Platform,
}

impl Resolved {
    async fn find(session: &Session, host: &Platform) -> Result<Self, Error> {
        let mut fetched = session.manifest().await?;
        let (mut index_digest, mut is_chosen) = (None, false);
        for _ in 0..=MAX_INDEX_DEPTH {
            let what = format!("manifest {} of {}", fetched.digest, session.reference());
            match Document::parse(&fetched.bytes, &fetched.content_type, &what)? {
                Document::Manifest(manifest) => {
                    let host = host.clone();
                    return Ok(Self { fetched, manifest, index_digest, is_chosen, host });
                }
                Document::Index(index) => {
                    let entry = index.choose(host).ok_or_else(|| no_platform(what, host, &index))?;
                    is_chosen |= entry.platform.as_ref().is_some_and(|platform| !platform.is_blank());
                    index_digest.get_or_insert(fetched.digest);
                    fetched = session.manifest_at(entry).await?;
                }
            }
        }
        let reason = format!("indexes are nested more than {MAX_INDEX_DEPTH} deep");
        Err(Error::BadManifest { what: session.reference().to_string(), reason })
    }

    /// Descriptors, diff IDs and chain IDs side by side, bottom first; checks that they fit together and that
    /// the image is for this machine.
    fn layers(&self, config: &[u8]) -> Result<Vec<Layer>, Error> {
        let what = self.what();
        let file = ConfigFile::parse(config, &what)?;
        let platform = &file.platform;
        // Indexes are right more often than the configurations below them.
        if !self.is_chosen && !platform.is_blank() && self.host.rank(platform).is_none() {
            let wanted = format!("{}, only for {platform}", self.host);
            return Err(Error::NoPlatform { what, platform: wanted });
        }
        let (blobs, diff_ids) = (&self.manifest.layers, file.diff_ids());
        if blobs.len() != diff_ids.len() {
            let (layers, ids) = (blobs.len(), diff_ids.len());
            let reason = format!("is no container image: {layers} layers, but {ids} diff IDs");
            return Err(Error::BadManifest { what, reason });
        }
        let chain_ids = file.chain_ids().into_iter();
        let sides = blobs.iter().cloned().zip(diff_ids.iter().cloned()).zip(chain_ids);
        let layer =
            |((blob, diff_id), chain_id)| Layer { blob, diff_id, chain_id, content: Content::Archive };
        Ok(sides.map(layer).collect())
    }

    /// For errors.
    fn what(&self) -> String {
        format!("manifest {}", self.fetched.digest)
    }
}

fn no_platform(what: String, host: &Platform, index: &Index) -> Error {
    let offered = index.manifests.iter().filter_map(|entry| entry.platform.as_ref()).map(ToString::to_string);
    let offered: Vec<String> = offered.take(20).collect();
    Error::NoPlatform { what, platform: format!("{host} (offered: {})", offered.join(", ")) }
}

#[cfg(test)]
mod tests;
