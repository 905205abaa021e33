//! The CDI devices that a container asks for: by `CDI_devices`, and by annotations as older kubelets and plugins write.

use linkspan_runtime_oci::cdi::{DeviceName, from_annotation};

use crate::error::Error;
use crate::model::ContainerConfig;

/// In the order of the request, the field's before the annotations'. Pure.
///
/// # Errors
/// [`Error::BadConfig`] with the field of what is no name.
pub(crate) fn names(config: &ContainerConfig) -> Result<Vec<DeviceName>, Error> {
    let mut names = Vec::new();
    for (index, name) in config.cdi_devices.iter().enumerate() {
        let refused = |reason| Error::bad(format!("config.CDI_devices[{index}].name"), reason);
        names.push(name.parse().map_err(refused)?);
    }
    for (key, value) in &config.annotations {
        match from_annotation(key, value) {
            Some(found) => {
                names.extend(
                    found.map_err(|reason| Error::bad(format!("config.annotations[{key:?}]"), reason))?,
                );
            }
            None => continue,
        }
    }
    Ok(names)
}

/// The field that asks for devices, for messages about them.
pub(crate) fn field(config: &ContainerConfig) -> &'static str {
    if config.cdi_devices.is_empty() { "config.annotations" } else { "config.CDI_devices" }
}
