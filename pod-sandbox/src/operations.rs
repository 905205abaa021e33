//! What is under way: each change of a pod or container, for how long, in which stages, and what of it has failed. Whoever wants
//! to know why a pod is stuck looks here; nothing is decided by it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::locks::lock;
use crate::pods::Pods;

tokio::task_local! {
    static CURRENT: Arc<Mutex<Running>>;
}

/// One that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The RPC, or what the daemon does by itself.
    pub what: &'static str,
    /// The ID of what it is about; of what is being made the name, until there is an ID.
    pub subject: String,
    pub lasts: Duration,
    /// What it waits for at this moment, with since how long.
    pub stages: Vec<(Cow<'static, str>, Duration)>,
    /// How often it was tried in vain.
    pub failures: u32,
    /// How it failed last.
    pub last_error: Option<String>,
}

/// All that are under way. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Operations(Arc<Mutex<Register>>);

#[derive(Debug, Default)]
struct Register {
    next: u64,
    by_number: BTreeMap<u64, Arc<Mutex<Running>>>,
}

#[derive(Debug)]
struct Running {
    what: &'static str,
    subject: String,
    since: Instant,
    next_stage: u64,
    stages: BTreeMap<u64, (Cow<'static, str>, Instant)>,
    failures: u32,
    last_error: Option<String>,
}

impl Pods {
    /// What is under way, the oldest first.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.inner.operations.list()
    }
}

impl Operations {
    /// Runs `work`, and tells of it meanwhile.
    pub(crate) fn run<T, F: Future<Output = T>>(
        &self,
        what: &'static str,
        subject: &dyn Display,
        work: F,
    ) -> impl Future<Output = T> + use<T, F> {
        let running = Running {
            what,
            subject: subject.to_string(),
            since: Instant::now(),
            next_stage: 0,
            stages: BTreeMap::new(),
            failures: 0,
            last_error: None,
        };
        let running = Arc::new(Mutex::new(running));
        let listed = Listed::new(self, Arc::clone(&running));
        async move {
            let _listed = listed;
            CURRENT.scope(running, work).await
        }
    }

    pub(crate) fn list(&self) -> Vec<Operation> {
        let now = Instant::now();
        let running: Vec<_> = lock(&self.0).by_number.values().cloned().collect();
        let told = running.iter().map(|running| lock(running).at(now));
        told.collect()
    }

    /// Those about `subject`, in a few words, for an error.
    pub(crate) fn words_about(&self, subject: &str) -> Vec<String> {
        let about = self.list().into_iter().filter(|operation| operation.subject == subject);
        about.map(|operation| operation.to_string()).collect()
    }
}

/// `StopPodSandbox for 3s (network DEL for 2s); failed 4 times, last: ...`
impl Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stages: Vec<String> =
            self.stages.iter().map(|(stage, since)| format!("{stage} for {}s", since.as_secs())).collect();
        write!(f, "{} for {}s ({})", self.what, self.lasts.as_secs(), stages.join(", "))?;
        match &self.last_error {
            Some(error) => write!(f, "; failed {} times, last: {error}", self.failures),
            None => Ok(()),
        }
    }
}

impl Running {
    fn at(&self, now: Instant) -> Operation {
        Operation {
            what: self.what,
            subject: self.subject.clone(),
            lasts: now - self.since,
            stages: self.stages.values().map(|(stage, since)| (stage.clone(), now - *since)).collect(),
            failures: self.failures,
            last_error: self.last_error.clone(),
        }
    }
}

/// As long as it lives.
struct Listed {
    operations: Operations,
    number: u64,
}

impl Listed {
    fn new(operations: &Operations, running: Arc<Mutex<Running>>) -> Self {
        let mut register = lock(&operations.0);
        let number = register.next;
        register.next += 1;
        register.by_number.insert(number, running);
        Self { operations: operations.clone(), number }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.operations.0).by_number.remove(&self.number);
    }
}

/// While `work` runs, the operation that it is part of, if any, is said to be in this stage. Stages may be within each other, and
/// beside each other.
pub(crate) fn stage<T>(
    name: impl Into<Cow<'static, str>>,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    // Stages within stages would be futures of several pages.
    let (name, work) = (name.into(), Box::pin(work));
    async move {
        let _in_it = CURRENT.try_with(Arc::clone).map(|running| InStage::new(running, name));
        work.await
    }
}

struct InStage {
    running: Arc<Mutex<Running>>,
    number: u64,
}

impl InStage {
    fn new(running: Arc<Mutex<Running>>, name: Cow<'static, str>) -> Self {
        let mut now = lock(&running);
        let number = now.next_stage;
        now.next_stage += 1;
        now.stages.insert(number, (name, Instant::now()));
        drop(now);
        Self { running, number }
    }
}

impl Drop for InStage {
    fn drop(&mut self) {
        lock(&self.running).stages.remove(&self.number);
    }
}

/// The operation has the ID of what it makes.
pub(crate) fn is_about(id: impl Display) {
    let _ = CURRENT.try_with(|running| lock(running).subject = id.to_string());
}

/// A try of the operation has failed; another will follow.
pub(crate) fn has_failed(error: &impl Display) {
    let _ = CURRENT.try_with(|running| {
        let mut running = lock(running);
        running.failures += 1;
        running.last_error = Some(error.to_string());
    });
}

#[cfg(test)]
mod tests {
    use super::{Operations, has_failed, is_about, stage};

    #[tokio::test]
    async fn an_operation_tells_its_stages_while_they_last() {
        let operations = Operations::default();
        let told = || {
            let list = operations.list();
            let one = list.first().expect("it is under way");
            let stages: Vec<String> = one.stages.iter().map(|(stage, _)| stage.to_string()).collect();
            (one.subject.clone(), stages.join(", "), one.failures, one.last_error.clone())
        };
        let text = str::to_owned;
        let work = async {
            assert_eq!(told(), (text("web"), text(""), 0, None));
            is_about("abc");
            let inner = stage("disk", async { assert_eq!(told().1, "network, disk") });
            stage("network", inner).await;
            has_failed(&"no route");
            assert_eq!(told(), (text("abc"), text(""), 1, Some(text("no route"))));
            let beside = async {
                assert_eq!(
                    operations.words_about("abc"),
                    ["RunPodSandbox for 0s (ADD for 0s); failed 1 times, last: no route"]
                )
            };
            stage("ADD", beside).await;
        };
        operations.run("RunPodSandbox", &"web", work).await;
        assert_eq!(operations.list(), []);
        stage("of nothing", async {}).await;
    }
}
