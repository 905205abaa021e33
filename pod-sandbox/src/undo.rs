//! The one clean-up idiom: each step that acquires something registers its reverse on the next line.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::error::Error;
use crate::operations::stage;

type Ending = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
type Step = Box<dyn FnOnce() -> Ending + Send>;
type Last = Box<dyn FnOnce(bool) -> Ending + Send>;

/// The reverses of the steps taken so far. The one caller of `apply` calls [`Undo::disarm`] on success and
/// [`Undo::run`] on failure. Dropping it armed does nothing: recovery collects what a crash leaves.
#[derive(Default)]
pub(crate) struct Undo {
    steps: Vec<(&'static str, Step)>,
    last: Option<Last>,
}

impl Undo {
    /// Registers `step`, which must succeed if what it reverses is gone already.
    pub(crate) fn push<F, Fut>(&mut self, name: &'static str, step: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.steps.push((name, Box::new(move || Box::pin(step()))));
    }

    /// Registers what is done after all steps, and told whether every one of them succeeded.
    pub(crate) fn at_last<Fut>(&mut self, last: impl FnOnce(bool) -> Fut + Send + 'static)
    where
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        self.last = Some(Box::new(move |all| Box::pin(last(all))));
    }

    /// Everything succeeded: nothing is to be undone.
    pub(crate) fn disarm(self) {
        drop(self);
    }

    /// Runs all steps, the last one first. A step that fails does not keep the others from being tried.
    pub(crate) async fn run(mut self) {
        let mut all = true;
        while let Some((step, undo)) = self.steps.pop() {
            tracing::debug!(step, "undoing");
            if let Err(error) = stage(format!("undoing: {step}"), undo()).await {
                tracing::warn!(step, %error, "could not undo");
                all = false;
            }
        }
        if let Some(last) = self.last.take()
            && let Err(error) = last(all).await
        {
            tracing::warn!(%error, "could not undo; left to recovery");
        }
    }
}

impl fmt::Debug for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::Undo;
    use crate::error::{Error, Refusal};

    #[tokio::test]
    async fn steps_run_backwards_and_a_failure_stops_none() {
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Undo::default();
        for name in ["first", "second", "third"] {
            let log = Arc::clone(&log);
            undo.push(name, move || async move {
                log.lock().unwrap().push(name);
                if name == "third" { Err(Error::Refused(Refusal::ShuttingDown)) } else { Ok(()) }
            });
        }
        let last = Arc::clone(&log);
        undo.at_last(move |all| async move {
            last.lock().unwrap().push(if all { "all" } else { "not all" });
            Ok(())
        });
        undo.run().await;
        assert_eq!(*log.lock().unwrap(), ["third", "second", "first", "not all"]);
    }
}
