//! The runtimes of the pods that there are: a handler that was taken out of the configuration still has the pods that were made
//! with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use linkspan_config::Config;
use linkspan_runtime_oci::runtime::kept;
use linkspan_runtime_oci::{Error as RuntimeError, Runtime};

use crate::error::Error;
use crate::handler::Handler;
use crate::layout::Layout;
use crate::mounts;
use crate::operations::stage;
use crate::pods::Inner;
use crate::records::Found;
use crate::sandbox::record::SandboxRecord;
use crate::table::blocking;

/// One handler's.
pub(crate) fn runtime(
    config: &Config,
    layout: &Layout,
    name: &str,
    handler: &linkspan_config::Handler,
) -> Runtime {
    Runtime::new(name, handler, layout.runtime_root(name))
        .with_timeout(config.runtime.timeout)
        .with_cgroup_driver(config.cgroup.driver)
}

/// Those of handlers that are not configured any more, as far as their pods' records say where they are.
pub(crate) fn former(
    config: &Config,
    layout: &Layout,
    found: &[Found<SandboxRecord>],
) -> BTreeMap<String, Runtime> {
    let records = found.iter().map(|found| &found.record);
    let of_former = records.filter(|record| !config.runtime.handlers.contains_key(&record.handler));
    let runtimes = of_former.filter_map(|record| {
        let handler = linkspan_config::Handler::new(record.runtime_path.clone()?);
        Some((record.handler.clone(), runtime(config, layout, &record.handler, &handler)))
    });
    runtimes.collect()
}

impl Inner {
    /// The handler that a record names, for what it does from now on: the configuration may have lost it since.
    ///
    /// # Errors
    /// [`Error::NoHandler`].
    pub(crate) fn handler(&self, name: &str) -> Result<&Handler, Error> {
        self.handlers.get(name).ok_or_else(|| Error::NoHandler { name: name.to_owned() })
    }

    /// For what was made with it.
    ///
    /// # Errors
    /// [`Error::NoHandler`] if the configuration has lost it, and no record says where its runtime is.
    pub(crate) fn runtime(&self, name: &str) -> Result<&Runtime, Error> {
        match self.former_runtimes.get(name) {
            Some(runtime) => Ok(runtime),
            None => Ok(&self.handler(name)?.runtime),
        }
    }

    /// Lets go of what a handler's runtime keeps about a container, by force. Gone, or never there: Ok. A runtime that is not
    /// to be had any more is not needed for that: what is in the `cgroup`, if it is known, is killed, and the runtime's own files go.
    pub(crate) async fn delete_from_runtime(
        &self,
        name: &str,
        id: &str,
        cgroup: Option<&str>,
    ) -> Result<(), Error> {
        if let Ok(runtime) = self.runtime(name) {
            // No process is spent on what is not there.
            let (keeper, kept_id) = (runtime.clone(), id.to_owned());
            if !blocking("looking for a runtime's files", move || Ok(keeper.keeps(&kept_id))).await? {
                return Ok(());
            }
            match stage("runtime delete", runtime.delete(id, true)).await {
                Err(RuntimeError::RuntimeMissing { source, .. })
                    if source.kind() == io::ErrorKind::NotFound => {}
                deleted => return Ok(deleted?),
            }
        }
        let kept: Vec<PathBuf> = kept(&self.layout.runtime_root(name), id).collect();
        if kept.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            runtime_handler = name,
            id,
            "the handler's runtime is gone: its container is killed and the files of it removed without it"
        );
        if let Some(cgroup) = cgroup {
            self.cgroups.kill_all(cgroup).await?;
        }
        blocking("removing a runtime's files", move || kept.iter().try_for_each(|path| remove(path))).await
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_dir()) {
        return mounts::remove_tree(path);
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::store("removing", path)(error)),
        _ => Ok(()),
    }
}
