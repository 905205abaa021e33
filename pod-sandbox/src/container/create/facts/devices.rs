//! Devices of the host that a container may get, and what CDI files say about those it asks for. Reads only.

use std::io;
use std::path::{Path, PathBuf};

use linkspan_config::DeviceDefault;
use linkspan_runtime_oci::cdi::{Edits, Registry};
use linkspan_runtime_oci::host;
use linkspan_runtime_oci::spec::DeviceInput;

use crate::container::cdi;
use crate::error::Error;
use crate::host_files::Step;
use crate::model::ContainerConfig;

/// Device nodes as they are on the host.
#[derive(Clone, Debug, Default)]
pub(in crate::container::create) struct Devices {
    /// All of `/dev`, for a privileged container.
    pub(in crate::container::create) host: Vec<DeviceInput>,
    /// Of the configuration.
    pub(in crate::container::create) defaults: Vec<DeviceInput>,
    /// Of each requested device the nodes: several if it is a directory.
    pub(in crate::container::create) requested: Vec<Vec<DeviceInput>>,
}

pub(super) fn read(
    config: &ContainerConfig,
    all_of_host: bool,
    defaults: &[DeviceDefault],
    step: &Step,
) -> Result<Devices, Error> {
    step.next("listing devices in", Path::new("/dev"))?;
    let mut found =
        Devices { host: if all_of_host { host::devices()? } else { Vec::new() }, ..Devices::default() };
    for device in defaults {
        step.next("looking at default device", &device.host_path)?;
        let nodes = host::device(&device.host_path, &device.container_path, &device.permissions);
        let missing =
            |error| Error::store("container.default_devices", &device.host_path)(io::Error::other(error));
        found.defaults.extend(nodes.map_err(missing)?);
    }
    for (index, device) in config.devices.iter().enumerate() {
        let shown_as =
            if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
        let refused = |error: linkspan_runtime_oci::Error| {
            Error::bad(format!("config.devices[{index}].host_path"), error.to_string())
        };
        step.next("looking at device", Path::new(&device.host_path))?;
        let nodes = host::device(Path::new(&device.host_path), Path::new(shown_as), &device.permissions);
        found.requested.push(nodes.map_err(refused)?);
    }
    Ok(found)
}

/// What the CDI devices that `config` asks for change; nothing is read if it asks for none.
pub(super) fn cdi(config: &ContainerConfig, dirs: &[PathBuf], step: &Step) -> Result<Edits, Error> {
    let names = cdi::names(config)?;
    if names.is_empty() {
        return Ok(Edits::default());
    }
    dirs.iter().try_for_each(|dir| step.ask("looking at CDI directory", dir))?;
    let refused = |reason| Error::bad(cdi::field(config), reason);
    Registry::read(dirs).resolve_on_host(&names).map_err(refused)
}
