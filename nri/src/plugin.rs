//! One registered plugin: what it asked to hear of, and how it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use prost::Message;

use crate::api::{
    ConfigureRequest, ConfigureResponse, Container, ContainerUpdate, Empty, Event, PodSandbox,
    StateChangeEvent, SynchronizeRequest, SynchronizeResponse,
};
use crate::connection::{Connection, UNIMPLEMENTED};
use crate::error::{Ended, Error, Failure};

const SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";
/// The version of NRI that we speak.
const NRI_VERSION: &str = "v0.12.0";
/// How we call ourselves.
const RUNTIME_NAME: &str = "linkspan";
/// Every event that there is.
const ALL_EVENTS: i32 = (1 << (Event::Last as i32 - 1)) - 1;
/// Fewer objects than that in one message are too long for reasons that smaller parts do not cure.
const FEWEST_PER_PART: usize = 2;

/// How long plugins may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) registration: Duration,
    pub(crate) request: Duration,
}

#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) index: String,
    pub(crate) base: String,
    connection: Arc<Connection>,
    deadline: Duration,
    /// As [`crate::api::ConfigureResponse`] has them.
    events: AtomicI32,
    /// Those for which it has no call of their own.
    state_change: AtomicI32,
}

impl Plugin {
    /// `index`: two digits.
    pub(crate) fn new(index: String, base: String, connection: Arc<Connection>, deadline: Duration) -> Self {
        let (events, state_change) = (AtomicI32::new(0), AtomicI32::new(0));
        Self { index, base, connection, deadline, events, state_change }
    }

    /// Index and name, as in the names of pre-installed plugins.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.index, self.base)
    }

    pub(crate) fn wants(&self, event: Event) -> bool {
        self.connection.why().is_none() && self.events.load(Ordering::Relaxed) & bit(event) != 0
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.why().is_none()
    }

    /// Disconnects it.
    pub(crate) fn close(&self, why: Ended) {
        self.connection.close(why);
    }

    /// Gives it its configuration and learns which events it wants.
    pub(crate) async fn configure(&self, config: String, deadlines: Deadlines) -> Result<(), Error> {
        let milliseconds = |deadline: Duration| i64::try_from(deadline.as_millis()).unwrap_or(i64::MAX);
        let request = ConfigureRequest {
            config,
            runtime_name: RUNTIME_NAME.to_owned(),
            runtime_version: concat!("v", env!("CARGO_PKG_VERSION")).to_owned(),
            registration_timeout: milliseconds(deadlines.registration),
            request_timeout: milliseconds(deadlines.request),
            nri_version: NRI_VERSION.to_owned(),
        };
        let answer: ConfigureResponse =
            self.call("Configure", &request).await.map_err(|failure| self.failed("Configure", failure))?;
        let events = match answer.events {
            0 => ALL_EVENTS,
            events if events & !ALL_EVENTS == 0 => events,
            events => {
                let unknown = events & !ALL_EVENTS;
                return Err(Error::refused(
                    &self.name(),
                    "Configure",
                    format!("asks for unknown events {unknown:#x}"),
                ));
            }
        };
        self.events.store(events, Ordering::Relaxed);
        Ok(())
    }

    /// Tells it of all there is, in as many parts as messages have room for. Gives the updates that it wants.
    pub(crate) async fn synchronize(
        &self,
        mut pods: Vec<PodSandbox>,
        mut containers: Vec<Container>,
    ) -> Result<Vec<ContainerUpdate>, Error> {
        const CALL: &str = "Synchronize";
        let (mut pods_at_once, mut containers_at_once) = (pods.len(), containers.len());
        loop {
            let later = (
                pods.split_off(pods_at_once.min(pods.len())),
                containers.split_off(containers_at_once.min(containers.len())),
            );
            let more = !later.0.is_empty() || !later.1.is_empty();
            let request = SynchronizeRequest { pods, containers, more };
            match self.call::<_, SynchronizeResponse>(CALL, &request).await {
                Ok(answer) if !more => return Ok(answer.update),
                Ok(answer) if answer.more && answer.update.is_empty() => (pods, containers) = later,
                Ok(_) => {
                    let reason = "all there is does not fit into one message, and it takes no parts";
                    return Err(Error::refused(&self.name(), CALL, reason));
                }
                Err(Failure::TooLong { .. })
                    if request.pods.len() + request.containers.len() > FEWEST_PER_PART =>
                {
                    pods_at_once = request.pods.len().div_ceil(2);
                    containers_at_once = request.containers.len().div_ceil(2);
                    (pods, containers) = (request.pods, request.containers);
                    pods.extend(later.0);
                    containers.extend(later.1);
                }
                Err(failure) => return Err(self.failed(CALL, failure)),
            }
        }
    }

    /// Tells of an event that it wants; one that lost its connection over it is no error. `None`: it has no say.
    pub(crate) async fn relay<Q: Message, R: Message + Default>(
        &self,
        event: Event,
        call: &'static str,
        request: &Q,
    ) -> Result<Option<R>, Error> {
        if !self.wants(event) {
            return Ok(None);
        }
        match self.call(call, request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(Failure::Ended(_)) => Ok(None),
            Err(failure) => Err(self.failed(call, failure)),
        }
    }

    /// The same for events without an answer, by the call that the plugin knows.
    pub(crate) async fn notify<Q: Message>(
        &self,
        call: &'static str,
        request: &Q,
        change: &StateChangeEvent,
    ) -> Result<(), Error> {
        let event = change.event();
        if !self.wants(event) {
            return Ok(());
        }
        if self.state_change.load(Ordering::Relaxed) & bit(event) == 0 {
            match self.call::<Q, Empty>(call, request).await {
                Ok(_) | Err(Failure::Ended(_)) => return Ok(()),
                Err(Failure::Status { code: UNIMPLEMENTED, .. }) => {
                    self.state_change.fetch_or(bit(event), Ordering::Relaxed);
                }
                Err(failure) => return Err(self.failed(call, failure)),
            }
        }
        match self.call::<_, Empty>("StateChange", change).await {
            Ok(_) | Err(Failure::Ended(_)) => Ok(()),
            Err(failure) => Err(self.failed(call, failure)),
        }
    }

    /// Lets it know that the daemon goes down. Whether it answers does not matter.
    pub(crate) async fn shut_down(&self) {
        let _ = self.call::<_, Empty>("Shutdown", &Empty {}).await;
        self.close(Ended::ByUs);
    }

    async fn call<Q: Message, R: Message + Default>(
        &self,
        method: &'static str,
        request: &Q,
    ) -> Result<R, Failure> {
        let answer = self.connection.call(SERVICE, method, request.encode_to_vec(), self.deadline).await;
        R::decode(answer?).map_err(|error| self.connection.nonsense("an answer", &error))
    }

    fn failed(&self, call: &'static str, failure: Failure) -> Error {
        let message = match failure {
            Failure::Status { message, code } if message.is_empty() => {
                format!("it answered with code {code}")
            }
            Failure::Status { message, .. } => message,
            Failure::TooLong { length } => format!("the message to it would have {length} bytes"),
            Failure::Ended(why) => why.to_string(),
        };
        Error::Plugin { plugin: self.name(), call, message }
    }
}

/// Two digits, and a name of letters, digits and `_.+-` (nri v0.12.0, pkg/api/plugin.go).
pub(crate) fn check_name(index: &str, base: &str) -> Result<(), String> {
    if index.len() != 2 || !index.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("its index {index:?} is not two digits"));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte);
    match base {
        "" => Err("it has no name".to_owned()),
        base if base.bytes().all(fits) => Ok(()),
        base => Err(format!("its name {base:?} has other characters than letters, digits and _.+-")),
    }
}

fn bit(event: Event) -> i32 {
    1 << (event as i32 - 1)
}

#[cfg(test)]
mod tests;
