//! CheckpointPod: all running containers as of one instant.
//!
//! ```text
//! output/checkpoint-manifest.json   what there is, with digests
//! output/pod-config.json            the sandbox's configuration
//! output/containers/<name>.tar      an archive each
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use linkspan_files::Access;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::container::{Place, finish, freeze, running, write};
use super::{archive, means};
use crate::container::record::ContainerRecord;
use crate::container::state::State;
use crate::error::{Error, Refusal};
use crate::host_files::HostAccess;
use crate::model::{ContainerConfig, SandboxState, StringMap};
use crate::own_files::make_dir;
use crate::pods::{Inner, Pods};
use crate::sandbox::record::SandboxRecord;
use crate::undo::Undo;
use crate::{find, validate};

pub(super) const MANIFEST: &str = "checkpoint-manifest.json";
pub(super) const POD_CONFIG: &str = "pod-config.json";
const CONTAINERS: &str = "containers";
pub(super) const VERSION: u32 = 1;
const RUNTIME: &str = "linkspan";

/// `checkpoint-manifest.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) version: u32,
    pub(super) runtime: String,
    pub(super) runtime_handler: String,
    pub(super) sandbox_id: String,
    pub(super) containers: Vec<ManifestContainer>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ManifestContainer {
    pub(super) name: String,
    pub(super) id: String,
    /// Relative to the manifest.
    pub(super) archive: PathBuf,
    pub(super) sha256: String,
    pub(super) config: ContainerConfig,
}

impl Pods {
    /// Writes the state of all running containers of a sandbox, as of one instant, below the empty directory
    /// `output_path`; none stays frozen (CRI api.proto, CheckpointPod). `budget` is what the caller will wait at most.
    /// Cancel safe: it is finished, or leaves nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchSandbox`], [`Error::Ambiguous`]; [`Error::BadConfig`] names the field; [`Error::Refused`] unless
    /// sandbox and containers run; [`Error::NoCheckpoint`]; [`Error::TimedOut`]; [`Error::Runtime`] with CRIU's words.
    pub async fn checkpoint_pod(
        &self,
        id: &str,
        output_path: &str,
        container_ids: &[String],
        options: &StringMap,
        budget: Option<Duration>,
    ) -> Result<(), Error> {
        no_options(options)?;
        let sandbox = find::sandbox(&self.inner.table.snapshot(), id)?;
        validate::path("output_path", output_path)?;
        let path = PathBuf::from(output_path);
        let access = HostAccess::new(&sandbox.config, "looking at", &path);
        let output = self.inner.host_files.run(access, move |_| output(path)).await?;
        let means = means(&self.inner, &sandbox.handler).await?;
        let (inner, subject) = (Arc::clone(&self.inner), sandbox.id.clone());
        let ids = container_ids.to_vec();
        let budget = Budget::of(&sandbox, budget.unwrap_or(inner.settings.runtime_timeout));
        let work = Box::pin(async move {
            let _sandbox = sandbox.entry.lock.exclusive().await;
            let containers = wanted(&inner, &sandbox, &ids)?;
            let (mut always, mut failed) = (Undo::default(), Undo::default());
            let dir = output.clone();
            // The sandbox may be stopped by then.
            let emptying = HostAccess::new(&sandbox.config, "emptying", &dir);
            let undoing = Arc::clone(&inner);
            failed.push("remove unfinished checkpoint", move || async move {
                undoing.host_files.run(emptying, move |_| empty(&dir)).await
            });
            let written = async {
                let mut locks = Vec::new();
                for container in &containers {
                    locks.push(budget.wait(container.entry.lock.exclusive()).await?);
                }
                let dir = output.join(CONTAINERS);
                let access = HostAccess::of(&sandbox, "making directory", &dir);
                inner.host_files.run(access, move |_| make_dir(&dir, Access::Private)).await?;
                let mut places = Vec::new();
                let mut archives = Vec::new();
                for container in &containers {
                    running(&inner, &container.id)?;
                    let name =
                        PathBuf::from(CONTAINERS).join(format!("{}.tar", container.config.metadata.name));
                    let (whose, location) = ((&**container, &*sandbox), output.join(&name));
                    places.push(Place::prepare(&inner, whose, &location, &mut always, &mut failed).await?);
                    archives.push(name);
                }
                for container in &containers {
                    budget.left()?;
                    freeze(&means, &container.id, &mut always).await?;
                }
                for (container, place) in containers.iter().zip(&places) {
                    write(&inner, &means, (container, &sandbox), place, budget.left()?).await?;
                }
                let access =
                    HostAccess::of(&sandbox, "describing checkpoint", &output).within(budget.left()?);
                let describe = describe(&sandbox, &containers, archives, &output);
                inner.host_files.run(access, move |_| describe()).await?;
                Ok(locks)
            };
            let written = written.await;
            let locks = finish(written, always, failed).await?;
            drop(locks);
            tracing::info!(sandbox_id = %sandbox.id, output = %output.display(), "pod checkpointed");
            Ok(())
        });
        self.inner.detached("CheckpointPod", subject, work).await
    }
}

/// What the caller will wait. Each step has what is left of it for its deadline, and none is dropped half-way: what it does
/// may not be taken back, and would go on while what was made is cleared away.
struct Budget {
    what: String,
    all: Duration,
    until: Instant,
}

impl Budget {
    fn of(sandbox: &SandboxRecord, all: Duration) -> Self {
        Self { what: format!("checkpointing sandbox {}", sandbox.id), all, until: Instant::now() + all }
    }

    fn left(&self) -> Result<Duration, Error> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(Error::TimedOut { what: self.what.clone(), after: self.all }),
            left => Ok(left),
        }
    }

    /// For what does nothing but wait.
    async fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let timed_out = |_| Error::TimedOut { what: self.what.clone(), after: self.all };
        tokio::time::timeout_at(self.until, work).await.map_err(timed_out)
    }
}

/// There are none that we know.
pub(super) fn no_options(options: &StringMap) -> Result<(), Error> {
    match options.keys().next() {
        Some(key) => {
            let start: String = key.chars().take(64).collect();
            Err(Error::bad(format!("options[{start:?}]"), "is no option that Linkspan knows"))
        }
        None => Ok(()),
    }
}

/// An empty directory, and no link to one.
fn output(output: PathBuf) -> Result<PathBuf, Error> {
    let bad = |reason: &str| Err(Error::bad("output_path", format!("{} {reason}", output.display())));
    match fs::symlink_metadata(&output) {
        Ok(found) if found.is_dir() => {
            match fs::read_dir(&output).map(|mut entries| entries.next().is_none()) {
                Ok(true) => Ok(output),
                Ok(false) => bad("is not empty"),
                Err(error) => bad(&format!("cannot be read: {error}")),
            }
        }
        Ok(_) => bad("is not a directory"),
        Err(error) => bad(&format!("cannot be used: {error}")),
    }
}

/// Exactly the containers that run; two of one name would be one file.
fn wanted(
    inner: &Inner,
    sandbox: &SandboxRecord,
    ids: &[String],
) -> Result<Vec<Arc<ContainerRecord>>, Error> {
    let snapshot = inner.table.snapshot();
    let state = snapshot.sandboxes.get(&sandbox.id).map_or(SandboxState::NotReady, |now| now.state.for_cri());
    if state != SandboxState::Ready {
        return Err(Error::Refused(Refusal::SandboxNotReady { id: sandbox.id.to_string(), state }));
    }
    if ids.is_empty() {
        return Err(Error::bad("container_ids", "is empty"));
    }
    let mut found = BTreeMap::new();
    for (index, id) in ids.iter().enumerate() {
        let bad = |reason: &str| Error::bad(format!("container_ids[{index}]"), format!("{id:?} {reason}"));
        let record = find::container(&snapshot, id)?;
        if record.sandbox_id != sandbox.id {
            return Err(bad("is in another sandbox"));
        }
        let (record, _) = running(inner, &record.id)?;
        if found.insert(record.config.metadata.name.clone(), record).is_some() {
            return Err(bad("is there twice, or another of its name is"));
        }
    }
    let meant: BTreeSet<&str> = found.values().map(|record| record.id.as_str()).collect();
    let forgotten = snapshot.containers.values().find(|record| {
        record.sandbox_id == sandbox.id
            && matches!(record.state, State::Running { .. })
            && !meant.contains(record.id.as_str())
    });
    match forgotten {
        Some(record) => Err(Error::bad("container_ids", format!("{} runs too, and is missing", record.id))),
        None => Ok(found.into_values().collect()),
    }
}

fn describe(
    sandbox: &Arc<SandboxRecord>,
    containers: &[Arc<ContainerRecord>],
    archives: Vec<PathBuf>,
    output: &Path,
) -> impl FnOnce() -> Result<(), Error> + Send + use<> {
    let (sandbox, containers, output) = (Arc::clone(sandbox), containers.to_vec(), output.to_owned());
    move || {
        let mut described = Vec::new();
        for (record, archive) in containers.iter().zip(archives) {
            described.push(ManifestContainer {
                name: record.config.metadata.name.clone(),
                id: record.id.to_string(),
                sha256: sha256(&output.join(&archive))?,
                archive,
                config: record.config.clone(),
            });
        }
        let manifest = Manifest {
            version: VERSION,
            runtime: RUNTIME.to_owned(),
            runtime_handler: sandbox.handler.clone(),
            sandbox_id: sandbox.id.to_string(),
            containers: described,
        };
        archive::write_json(&output.join(POD_CONFIG), &sandbox.config)?;
        archive::write_json(&output.join(MANIFEST), &manifest)
    }
}

pub(super) fn sha256(path: &Path) -> Result<String, Error> {
    use std::fmt::Write as _;
    let failed = || Error::store("reading", path);
    let mut hasher = Sha256::new();
    let mut file = fs::File::open(path).map_err(failed())?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer).map_err(failed())? {
            0 => break,
            length => hasher.update(&buffer[..length]),
        }
    }
    Ok(hasher.finalize().iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn empty(output: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(output).map_err(Error::store("listing", output))?.flatten() {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(Error::store("removing", &path))?;
    }
    Ok(())
}
