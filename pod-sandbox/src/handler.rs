//! One runtime handler as configured, and what its containers are given beyond what the request says.

use std::path::PathBuf;
use std::sync::Arc;

use glob::Pattern;
use linkspan_config::SandboxKind;
use linkspan_runtime_oci::spec::BaseSpec;
use linkspan_runtime_oci::{Features, Runtime};

use crate::error::Error;
use crate::model::StringMap;

#[derive(Clone, Debug)]
pub(crate) struct Handler {
    pub(crate) runtime: Runtime,
    pub(crate) path: PathBuf,
    pub(crate) sandbox: SandboxKind,
    pub(crate) options: Arc<HandlerOptions>,
}

/// The handler's options that plans depend on; documented where they are configured.
#[derive(Clone, Debug, Default)]
pub(crate) struct HandlerOptions {
    pub(crate) default_annotations: StringMap,
    pub(crate) allowed_annotations: Vec<Pattern>,
    pub(crate) privileged_without_host_devices: bool,
    pub(crate) base_spec: Option<Arc<BaseSpec>>,
    pub(crate) cgroup_writable: bool,
}

impl HandlerOptions {
    /// Reads the base spec, once: a change of the file counts from the next start on.
    ///
    /// # Errors
    /// [`linkspan_runtime_oci::Error::BadBaseSpec`] inside [`Error::Runtime`].
    pub(crate) fn read(configured: &linkspan_config::Handler) -> Result<Self, Error> {
        let base_spec = configured.base_spec.as_deref().map(BaseSpec::read).transpose()?;
        Ok(Self {
            default_annotations: configured.default_annotations.clone(),
            // Checked when the configuration was read.
            allowed_annotations: configured
                .allowed_annotations
                .iter()
                .filter_map(|pattern| Pattern::new(pattern).ok())
                .collect(),
            privileged_without_host_devices: configured.privileged_without_host_devices,
            base_spec: base_spec.map(Arc::new),
            cgroup_writable: configured.cgroup_writable,
        })
    }

    /// What the runtime gets to see of the annotations that were asked for, over the handler's own. A pod's author may
    /// write annotations; only the node's administrator may steer its runtimes, and say for a handler by which
    /// annotations pods may, too.
    pub(crate) fn annotations(&self, mut asked: StringMap, runtime: &Features) -> StringMap {
        let allowed = |key: &str| self.allowed_annotations.iter().any(|pattern| pattern.matches(key));
        asked.retain(|key, _| {
            let passes = !runtime.steered_by(key) || allowed(key);
            if !passes {
                tracing::debug!(
                    annotation = key,
                    "annotation kept from the runtime: allowed_annotations of the handler would let it pass"
                );
            }
            passes
        });
        let mut annotations = self.default_annotations.clone();
        annotations.extend(asked);
        annotations
    }
}
