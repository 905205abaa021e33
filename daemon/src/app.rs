//! Builds the daemon out of its parts: the only place that knows them all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use linkspan_config::{Config, Loaded};
use linkspan_image::Images;
use linkspan_pod_sandbox::network::Network;
use linkspan_pod_sandbox::plugins::Plugins;
use linkspan_pod_sandbox::{Parts, Pods};
use linkspan_runtime_oci::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::Error;
use crate::metrics::{Metrics, OfPods};
use crate::nri::Nri;
use crate::streaming::Desk;

/// The parts, opened. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) config: Arc<Config>,
    /// Files that the configuration was read from.
    pub(crate) config_files: Arc<Vec<PathBuf>>,
    /// The merged configuration, for Status(verbose).
    pub(crate) config_json: Arc<Value>,
    pub(crate) images: Images,
    pub(crate) network: Network,
    pub(crate) pods: Pods,
    /// `None`: switched off.
    pub(crate) nri: Option<Arc<Nri>>,
    pub(crate) metrics: Metrics,
    /// Gives out the URLs of Exec, Attach and PortForward.
    pub(crate) desk: Desk,
    pub(crate) started_at: Timestamp,
    /// Becomes true when the daemon goes down: streams without an end of their own end then.
    pub(crate) ending: watch::Sender<bool>,
}

impl App {
    /// Opens the stores, and finds again the pods that an earlier daemon left running. URLs come from `desk`.
    pub(crate) async fn open(loaded: Loaded, desk: Desk) -> Result<Self, Error> {
        // The sample's own form: sections and keys as in the file.
        let config_json = toml::from_str(&linkspan_config::show(&loaded)).unwrap_or(Value::Null);
        let config = Arc::new(loaded.config);
        let images = Images::open(&config.image, &config.root_dir.join("images"), &config.run_dir).await?;
        let network = Network::open_for(&config.network, &config.root_dir).await?;
        let nri = config.nri.enable.then(|| Nri::new(config.nri.clone()));
        let parts = Parts {
            config: config.clone(),
            images: images.clone(),
            network: network.clone(),
            plugins: nri.clone().map(|nri| nri as Arc<dyn Plugins>),
        };
        let pods = Pods::open(parts).await?;
        if let Some(nri) = &nri {
            nri.start(pods.clone()).await?;
        }
        let counted = pods.clone();
        Ok(Self {
            config,
            config_files: Arc::new(loaded.files),
            config_json: Arc::new(config_json),
            images,
            network,
            pods,
            nri,
            metrics: Metrics::new(move || OfPods::read(&counted)),
            desk,
            started_at: Timestamp::now(),
            ending: watch::Sender::new(false),
        })
    }

    /// Waits for what is under way, `most` at the longest: the rest is found again, or undone, at the next start. Pods
    /// keep running.
    pub(crate) async fn close(&self, most: Duration) {
        if tokio::time::timeout(most, self.pods.shutdown()).await.is_err() {
            tracing::warn!(after = ?most, "changes of pods were still under way and are left to the next start");
        }
        if let Some(nri) = &self.nri {
            nri.shutdown().await;
        }
        if let Err(error) = self.network.shutdown().await {
            tracing::warn!(%error, "the network did not shut down cleanly");
        }
    }
}
