//! What plugins, archives and a crash may leave for us to read: the bodies of the fuzz targets in `fuzz/`. As property tests they
//! run with all others.

use serde::Deserialize;

use crate::error::Error;
use crate::model::{ContainerConfig, SandboxConfig};
use crate::{container, sandbox};

pub use crate::checkpoint::fuzz::checkpoint;
pub use crate::network::fuzz::{cni_conf, cni_result};
pub use crate::records::fuzz::record;

/// What a pod and a container in it shall be, as JSON of the types that CRI's messages are converted to.
///
/// # Panics
/// If a refusal names no field.
pub fn request_fields(data: &[u8]) {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Configs {
        sandbox: SandboxConfig,
        container: ContainerConfig,
    }
    let Ok(Configs { sandbox: pod, container: inside }) = serde_json::from_slice(data) else { return };
    for checked in [sandbox::validate::check(&pod), container::validate::check(&inside, &pod)] {
        match checked {
            Ok(()) => {}
            Err(Error::BadConfig { field, reason }) => {
                assert!(
                    field.starts_with("config.") && field.len() < 500 && !reason.is_empty(),
                    "{field:?}: {reason:?}"
                );
            }
            Err(error) => assert!(error.to_string().contains("not implemented"), "{error} names no field"),
        }
    }
}

#[cfg(test)]
mod tests;
