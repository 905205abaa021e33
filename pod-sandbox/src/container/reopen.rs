//! ReopenContainerLog. Takes no lock: it works while a stop is pending.

use super::state::{Request, Verdict, admit};
use crate::error::{Error, Refusal};
use crate::find;
use crate::pods::Pods;

impl Pods {
    /// Opens the log file anew after a rotation; the new file is there when this returns (CRI api.proto,
    /// ReopenContainerLog). Cancel safe.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Ambiguous`]; [`Error::Refused`] if it does not run.
    pub async fn reopen_container_log(&self, id: &str) -> Result<(), Error> {
        let record = find::container(&self.inner.table.snapshot(), id)?;
        if admit(&record.state, Request::ReopenLog) != Verdict::Proceed {
            let state = record.state.for_cri();
            return Err(Error::Refused(Refusal::NotRunning { id: record.id.to_string(), state }));
        }
        let monitor = self.inner.monitor_of(&record.sandbox_id)?;
        Ok(monitor.reopen_log(record.id.as_str()).await?)
    }
}
