//! Creates that are running: a retry joins the running one and gets its result (ARCHITECTURE.md, invariant 5).

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::error::Error;
use crate::locks::lock;

type Outcome<Id> = Option<Result<Id, Arc<Error>>>;

/// By the deterministic name of what is created. A name is here while its create runs, and never longer.
#[derive(Debug)]
pub(crate) struct Creating<Name, Id> {
    running: Mutex<HashMap<Name, watch::Receiver<Outcome<Id>>>>,
}

impl<Name, Id> Default for Creating<Name, Id> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<Name, Id> Creating<Name, Id>
where
    Name: Clone + Eq + Hash + Send + Sync + 'static,
    Id: Clone + Send + Sync + 'static,
{
    /// What `existing` says of the one that is there under the name, else the result of the create that runs under it, else of
    /// `work`, which runs on even if the caller leaves.
    pub(crate) async fn join<F>(
        self: &Arc<Self>,
        name: Name,
        tasks: &TaskTracker,
        existing: impl FnOnce() -> Option<Result<Id, Error>>,
        work: impl FnOnce() -> F,
    ) -> Result<Id, Error>
    where
        F: Future<Output = Result<Id, Error>> + Send + 'static,
    {
        let mut outcome = {
            let mut running = lock(&self.running);
            if let Some(outcome) = running.get(&name) {
                outcome.clone()
            } else if let Some(found) = existing() {
                return found;
            } else {
                let (teller, outcome) = watch::channel(None);
                running.insert(name.clone(), outcome.clone());
                let registered = Registered { creating: Arc::clone(self), name };
                let work = work();
                tasks.spawn(
                    async move {
                        let result = work.await;
                        drop(registered);
                        teller.send_replace(Some(result.map_err(Arc::new)));
                    }
                    .in_current_span(),
                );
                outcome
            }
        };
        let told = outcome.wait_for(Option::is_some).await;
        match told.as_deref() {
            Ok(Some(Ok(id))) => Ok(id.clone()),
            Ok(Some(Err(error))) => Err(Error::Joined(Arc::clone(error))),
            Ok(None) | Err(_) => Err(Error::Lost { what: "a create".to_owned() }),
        }
    }
}

impl<Name: Clone, Id> Creating<Name, Id> {
    /// What is being created now.
    pub(crate) fn names(&self) -> Vec<Name> {
        lock(&self.running).keys().cloned().collect()
    }
}

/// Frees the name however the create ends, a panic included.
struct Registered<Name: Eq + Hash, Id> {
    creating: Arc<Creating<Name, Id>>,
    name: Name,
}

impl<Name: Eq + Hash, Id> Drop for Registered<Name, Id> {
    fn drop(&mut self) {
        lock(&self.creating.running).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::oneshot;
    use tokio_util::task::TaskTracker;

    use super::Creating;
    use crate::error::{Error, Refusal};

    #[tokio::test]
    async fn a_retry_joins_and_gets_the_same_result() {
        let (creating, tasks, runs) = (Arc::new(Creating::default()), TaskTracker::new(), AtomicU32::new(0));
        let (finish, finished) = oneshot::channel::<()>();
        let mut finished = Some(finished);
        let mut join = || {
            let gate = finished.take();
            let runs = &runs;
            creating.join(
                "pod",
                &tasks,
                || None,
                move || {
                    runs.fetch_add(1, Ordering::Relaxed);
                    async move {
                        if let Some(gate) = gate {
                            let _ = gate.await;
                        }
                        Ok(7)
                    }
                },
            )
        };
        let (first, second) = (join(), join());
        let release = async { finish.send(()).unwrap() };
        let (first, second, ()) = tokio::join!(first, second, release);
        assert_eq!((first.unwrap(), second.unwrap()), (7, 7));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failed_create_leaves_its_name_free() {
        let (creating, tasks) = (Arc::new(Creating::<_, u32>::default()), TaskTracker::new());
        let refuse = || async { Err(Error::Refused(Refusal::ShuttingDown)) };
        assert!(creating.join("pod", &tasks, || None, refuse).await.is_err());
        assert_eq!(creating.join("pod", &tasks, || None, || async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_create_whose_caller_left_is_finished() {
        let (creating, tasks) = (Arc::new(Creating::<_, u32>::default()), TaskTracker::new());
        let (tell, told) = oneshot::channel();
        let mut call = Box::pin(creating.join(
            "pod",
            &tasks,
            || None,
            || async {
                tokio::task::yield_now().await;
                let _ = tell.send(());
                Ok(1)
            },
        ));
        tokio::select! {
            biased;
            _ = &mut call => {}
            () = std::future::ready(()) => {}
        }
        drop(call);
        told.await.unwrap();
    }
}
