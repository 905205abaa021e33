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
        let not_running = || {
            let state = record.state.for_cri();
            Error::Refused(Refusal::NotRunning { id: record.id.to_string(), state })
        };
        if admit(&record.state, Request::ReopenLog) != Verdict::Proceed {
            return Err(not_running());
        }
        let monitor = self.inner.monitor(&record.sandbox_id).ok_or_else(not_running)?;
        Ok(monitor.reopen_log(record.id.as_str()).await?)
    }
}
