//! Asking a runtime's binary what it can do: in the background, once at a time, and for so long at most.
//!
//! ```text
//! look ─ the file, on a blocking thread ────┬─ as it was ──────────────────────────▶ the answer that is known
//!                                          └─ new ─ `features` ─┬─ answer ────────▶ kept while the file is the same
//!                                                               ├─ says nothing ──▶ the common, for a while
//!                                                               └─ dies, hangs ───▶ an error, forgotten
//! ```
//! A file system that does not answer holds that thread, and a process that cannot be killed its look: the handler is
//! not asked again before they are gone, so that one thread and one process is all that a handler can cost.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkspan_child::Child;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::{Features, parse};
use crate::error::Error;
use crate::runtime::call::{self, Outcome};
use crate::runtime::words::{means_no_such_command, means_not_begun, until_begun, words};

/// For one look. A healthy runtime needs milliseconds.
const DEADLINE: Duration = Duration::from_secs(5);
/// After a look without an answer that lasts; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is known of a handler's binary, and the look under way. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Asking(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The handler's name.
    runtime: String,
    binary: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    /// What came of the last look.
    last: Option<Found>,
    /// Looks one after the other that brought no answer that lasts.
    vain: u32,
    /// Not before this are reads to begin a look.
    pause_until: Option<Instant>,
    /// The look under way.
    look: Option<Look>,
}

type Found = Result<Features, Failure>;
/// `None` until there is something to tell.
type Look = watch::Receiver<Option<Found>>;

#[derive(Clone, Debug)]
struct Answer {
    /// The file that gave it.
    of: FileIdentity,
    features: Features,
    /// `None`: as long as the file is the same.
    until: Option<Instant>,
}

/// Device, inode, and time of modification in seconds and nanoseconds: an upgrade changes one of them.
type FileIdentity = (u64, u64, i64, i64);

/// As [`Error`], to be told to several.
#[derive(Clone, Debug)]
enum Failure {
    Missing(io::ErrorKind, String),
    NoAnswer(String),
}

/// How far a look came.
enum Progress {
    Known(Features),
    Failed(Failure),
    Ended(FileIdentity, Outcome),
    /// The deadline has passed, and this is not over.
    Hangs(Hanging),
}

enum Hanging {
    Thread(JoinHandle<Result<Begun, Failure>>),
    Process(Child),
}

enum Begun {
    Known(Features),
    Process(FileIdentity, Child),
}

impl Asking {
    pub(crate) fn new(runtime: &str, binary: PathBuf) -> Self {
        Self(Arc::new(Shared { runtime: runtime.to_owned(), binary, state: Mutex::default() }))
    }

    /// Looks at the file, and asks it if it is another one; joins a look that is under way.
    pub(crate) async fn ask(&self, most: Duration) -> Result<Features, Error> {
        let mut look = self.look(most);
        let found = look.wait_for(Option::is_some).await.ok().and_then(|found| (*found).clone());
        let lost = || Err(Failure::NoAnswer("the question was lost; the daemon may be ending".to_owned()));
        found.unwrap_or_else(lost).map_err(|failure| self.error(failure))
    }

    /// What the last look brought, at once. Begins one unless it is too early after others in vain, so that a change
    /// shows in the next answers.
    pub(crate) fn known(&self, most: Duration) -> Result<Features, Error> {
        let last = {
            let state = self.state();
            let due = state.pause_until.is_none_or(|until| until <= Instant::now());
            let last = state.last.clone();
            drop(state);
            if due {
                drop(self.look(most));
            }
            last
        };
        let none = || Err(Failure::NoAnswer("it was asked and has not answered yet".to_owned()));
        last.unwrap_or_else(none).map_err(|failure| self.error(failure))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, failure: Failure) -> Error {
        let path = self.0.binary.clone();
        match failure {
            Failure::Missing(kind, text) => {
                Error::RuntimeMissing { path, source: io::Error::new(kind, text) }
            }
            Failure::NoAnswer(reason) => Error::NoFeatures { runtime: self.0.runtime.clone(), path, reason },
        }
    }

    fn look(&self, most: Duration) -> Look {
        let mut state = self.state();
        if let Some(look) = &state.look {
            return look.clone();
        }
        let (told, look) = watch::channel(None);
        state.look = Some(look.clone());
        tokio::spawn(self.clone().run(told, most.min(DEADLINE)));
        look
    }

    async fn run(self, told: watch::Sender<Option<Found>>, most: Duration) {
        let by = Instant::now() + most;
        let found = match until_begun(|| self.step(by), Progress::has_not_begun).await {
            Progress::Known(features) => Ok(features),
            // It is seen as soon as it is there: that takes no process.
            Progress::Failed(failure @ Failure::Missing(..)) => Err(failure),
            Progress::Failed(failure) => {
                self.state().note_vain();
                Err(failure)
            }
            Progress::Ended(of, outcome) => self.learn(of, &outcome),
            Progress::Hangs(hanging) => {
                let reason = format!(
                    "`features` did not end within {most:?}; pods of this handler are refused until it answers"
                );
                let failure = Failure::NoAnswer(reason);
                {
                    let mut state = self.state();
                    state.note_vain();
                    state.last = Some(Err(failure.clone()));
                }
                told.send_replace(Some(Err(failure)));
                // Whoever asks meanwhile is told the same.
                hanging.end().await;
                self.state().look = None;
                return;
            }
        };
        {
            let mut state = self.state();
            state.last = Some(found.clone());
            // Before it is told: who asks again after this answer may know of another file.
            state.look = None;
        }
        told.send_replace(Some(found));
    }

    async fn step(&self, by: Instant) -> Progress {
        // The file system may not answer, and then it does not to whoever starts a program on it either.
        let asking = self.clone();
        let mut thread = spawn_blocking(move || asking.begin());
        let begun = match timeout_at(by, &mut thread).await {
            Ok(begun) => {
                begun.unwrap_or_else(|_| Err(Failure::NoAnswer("no thread to ask it on".to_owned())))
            }
            Err(_) => return Progress::Hangs(Hanging::Thread(thread)),
        };
        match begun {
            Ok(Begun::Known(features)) => Progress::Known(features),
            Err(failure) => Progress::Failed(failure),
            Ok(Begun::Process(of, mut child)) => match timeout_at(by, call::finish(&mut child, None)).await {
                Ok(Ok(outcome)) => Progress::Ended(of, outcome),
                Ok(Err(error)) => Progress::Failed(Failure::NoAnswer(error.to_string())),
                Err(_) => Progress::Hangs(Hanging::Process(child)),
            },
        }
    }

    fn begin(&self) -> Result<Begun, Failure> {
        let binary = &self.0.binary;
        let missing = |error: io::Error| Failure::Missing(error.kind(), error.to_string());
        let metadata = fs::metadata(binary).map_err(missing)?;
        let of = (metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec());
        let known = self.state().answer.clone();
        if let Some(answer) = known
            && answer.of == of
            && answer.until.is_none_or(|until| until > Instant::now())
        {
            return Ok(Begun::Known(answer.features));
        }
        let command = [binary.as_os_str().to_owned(), "features".into()];
        match call::spawn(&command, false) {
            Ok(child) => Ok(Begun::Process(of, child)),
            Err(Error::RuntimeMissing { source, .. }) => Err(missing(source)),
            Err(error) => Err(Failure::NoAnswer(error.to_string())),
        }
    }

    fn learn(&self, of: FileIdentity, outcome: &Outcome) -> Found {
        let said = words("", &outcome.stderr);
        let (features, lasts) = match parse(&outcome.stdout).filter(|_| outcome.success) {
            Some(features) => (features, true),
            None if outcome.signal.is_some() || means_not_begun(&outcome.stderr) => {
                self.state().note_vain();
                let by = outcome.signal.map(|signal| format!("it was ended by signal {signal}: "));
                return Err(Failure::NoAnswer(format!("{}{said}", by.unwrap_or_default())));
            }
            // What does not know the command can do what all can; what says something else may say more later.
            None => {
                let output = String::from_utf8_lossy(&outcome.stdout);
                let unknown = [&*outcome.stderr, &*output].into_iter().any(means_no_such_command);
                (Features::default(), unknown)
            }
        };
        let mut state = self.state();
        let until = if lasts {
            (state.vain, state.pause_until) = (0, None);
            None
        } else {
            tracing::warn!(
                runtime_handler = self.0.runtime,
                path = %self.0.binary.display(),
                said,
                "`features` of the runtime failed; its pods get what every runtime can do, and it is asked again"
            );
            state.note_vain();
            state.pause_until
        };
        state.answer = Some(Answer { of, features: features.clone(), until });
        Ok(features)
    }
}

impl Progress {
    fn has_not_begun(&self) -> bool {
        matches!(self, Self::Ended(_, outcome) if !outcome.success && means_not_begun(&outcome.stderr))
    }
}

impl State {
    fn note_vain(&mut self) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.vain.min(16)).min(LONGEST_PAUSE);
        self.vain = self.vain.saturating_add(1);
        self.pause_until = Some(Instant::now() + pause);
    }
}

impl Hanging {
    /// Ends it if that can be, and waits until it has ended.
    async fn end(self) {
        let child = match self {
            Self::Process(child) => Some(child),
            Self::Thread(thread) => match thread.await {
                Ok(Ok(Begun::Process(_, child))) => Some(child),
                _ => None,
            },
        };
        if let Some(mut child) = child {
            let _ = child.kill().await;
        }
    }
}
