//! RestorePod: a sandbox and its containers from what CheckpointPod wrote.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::pod::{MANIFEST, Manifest, ManifestContainer, POD_CONFIG, VERSION, no_options, sha256};
use super::{archive, means};
use crate::container::create::restored;
use crate::error::Error;
use crate::host_files::HostAccess;
use crate::model::{ContainerConfig, ContainerId, SandboxConfig, SandboxId, StringMap};
use crate::pods::Pods;
use crate::validate;

const FIELD: &str = "checkpoint_path";

/// CRI `RestorePodRequest`.
#[derive(Clone, Debug, Default)]
pub struct RestoreRequest {
    /// Absolute; only read.
    pub checkpoint_path: String,
    pub config: SandboxConfig,
    /// Empty: the default.
    pub runtime_handler: String,
    pub options: StringMap,
    /// One for each container of the checkpoint, matched by name.
    pub container_configs: Vec<ContainerConfig>,
}

/// What came of it: the containers by name, created and not yet running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub sandbox: SandboxId,
    pub containers: Vec<(String, ContainerId)>,
}

impl Pods {
    /// Makes a sandbox and its containers from a checkpoint. Starting a container restores its processes (CRI
    /// api.proto, RestorePod). Cancel safe: it is finished, or leaves nothing.
    ///
    /// # Errors
    /// [`Error::BadConfig`] names what is no checkpoint, or does not fit it; [`Error::NoSuchImage`];
    /// [`Error::NoCheckpoint`]; those of RunPodSandbox and CreateContainer.
    pub async fn restore_pod(&self, request: RestoreRequest) -> Result<Restored, Error> {
        no_options(&request.options)?;
        validate::path(FIELD, &request.checkpoint_path)?;
        let handler = match request.runtime_handler.as_str() {
            "" => self.inner.settings.default_handler.clone(),
            name => name.to_owned(),
        };
        means(&self.inner, &handler).await?;
        let path = PathBuf::from(&request.checkpoint_path);
        let access = HostAccess::new(&request.config, "reading checkpoint", &path);
        let access = access.within(self.inner.settings.runtime_timeout);
        let (manifest, config) = self.inner.host_files.run(access, move |_| read(&path)).await?;
        check_sandbox(&config, &request.config)?;
        let configs = matched(&manifest, &request.container_configs)?;

        let pods = self.clone();
        let subject = request.config.metadata.name.clone();
        let work = Box::pin(async move {
            let sandbox = pods.run_sandbox(request.config, &request.runtime_handler).await?;
            let mut containers = Vec::new();
            for (described, config) in manifest.containers.iter().zip(configs) {
                let archive = Path::new(&request.checkpoint_path).join(&described.archive);
                match restored(&pods, &sandbox, config, archive).await {
                    Ok(id) => containers.push((described.name.clone(), id)),
                    Err(error) => {
                        if let Err(left) = pods.remove_sandbox(sandbox.as_str()).await {
                            tracing::warn!(sandbox_id = %sandbox, error = %left, "a sandbox half restored stays");
                        }
                        return Err(error);
                    }
                }
            }
            Ok(Restored { sandbox, containers })
        });
        self.inner.detached("RestorePod", subject, work).await
    }
}

fn read(dir: &Path) -> Result<(Manifest, SandboxConfig), Error> {
    if !dir.join(MANIFEST).is_file() {
        return Err(Error::bad(FIELD, format!("{} has no {MANIFEST}", dir.display())));
    }
    let manifest: Manifest = archive::read_json(&dir.join(MANIFEST), FIELD)?;
    if manifest.version != VERSION {
        return Err(Error::bad(
            FIELD,
            format!("is of version {}, we read version {VERSION}", manifest.version),
        ));
    }
    for container in &manifest.containers {
        if container.archive.is_absolute()
            || container.archive.components().any(|part| part.as_os_str() == "..")
        {
            return Err(Error::bad(FIELD, format!("{} is outside of it", container.archive.display())));
        }
        if sha256(&dir.join(&container.archive))? != container.sha256 {
            let reason = format!("{} is not what was written", container.archive.display());
            return Err(Error::bad(FIELD, reason));
        }
    }
    Ok((manifest, archive::read_json(&dir.join(POD_CONFIG), FIELD)?))
}

/// What the processes have seen must still be so.
fn check_sandbox(then: &SandboxConfig, now: &SandboxConfig) -> Result<(), Error> {
    let same = [
        ("hostname", then.hostname == now.hostname),
        ("linux.security_context", then.linux.security_context == now.linux.security_context),
        ("linux.sysctls", then.linux.sysctls == now.linux.sysctls),
        ("port_mappings", then.port_mappings == now.port_mappings),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((field, _)) => Err(Error::bad(format!("config.{field}"), "is not the checkpoint's")),
        None => Ok(()),
    }
}

/// The request's configurations in the order of the checkpoint's.
fn matched(manifest: &Manifest, configs: &[ContainerConfig]) -> Result<Vec<ContainerConfig>, Error> {
    let names: BTreeSet<&str> = configs.iter().map(|config| config.metadata.name.as_str()).collect();
    if names.len() != configs.len() || configs.len() != manifest.containers.len() {
        let known: Vec<&str> = manifest.containers.iter().map(|container| container.name.as_str()).collect();
        let reason = format!("must have one for each container of the checkpoint: {}", known.join(", "));
        return Err(Error::bad("container_configs", reason));
    }
    let config_of = |described: &ManifestContainer| {
        let found = configs.iter().position(|config| config.metadata.name == described.name);
        let index = found.ok_or_else(|| {
            Error::bad("container_configs", format!("has none for container {:?}", described.name))
        })?;
        check_container(index, &described.config, &configs[index])?;
        Ok(configs[index].clone())
    };
    manifest.containers.iter().map(config_of).collect()
}

fn check_container(index: usize, then: &ContainerConfig, now: &ContainerConfig) -> Result<(), Error> {
    let image = |config: &ContainerConfig| match config.image.user_specified_image.as_str() {
        "" => config.image.image.clone(),
        name => name.to_owned(),
    };
    let places = |config: &ContainerConfig| -> BTreeSet<String> {
        config.mounts.iter().map(|mount| mount.container_path.clone()).collect()
    };
    let same = [
        ("image", image(then) == image(now)),
        ("command", then.command == now.command),
        ("args", then.args == now.args),
        ("working_dir", then.working_dir == now.working_dir),
        ("envs", then.envs == now.envs),
        ("tty", then.tty == now.tty),
        ("mounts", places(then) == places(now)),
        ("linux.security_context", then.linux.security_context == now.linux.security_context),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((field, _)) => {
            Err(Error::bad(format!("container_configs[{index}].{field}"), "is not the checkpoint's"))
        }
        None => Ok(()),
    }
}
