//! Whether pods can be run: the conditions of CRI Status.

use linkspan_pod_sandbox::model::HandlerStatus;
use linkspan_pod_sandbox::network::Readiness;

/// CRI `RuntimeCondition`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) name: &'static str,
    pub(crate) status: bool,
    /// One word in CamelCase; empty if `status`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// `RuntimeReady` and `NetworkReady`; the kubelet wants both, always.
pub(crate) fn conditions(handlers: &[HandlerStatus], network: Readiness) -> [Condition; 2] {
    [runtime_ready(handlers), network_ready(network)]
}

fn runtime_ready(handlers: &[HandlerStatus]) -> Condition {
    const NAME: &str = "RuntimeReady";
    let not = |reason, message| Condition { name: NAME, status: false, reason, message };
    // The default handler comes a second time under the empty name.
    match handlers.iter().find(|handler| handler.name.is_empty()) {
        None => {
            not("NoRuntimeHandler", "no runtime handler is configured, and no OCI runtime was found".into())
        }
        Some(HandlerStatus { path, error: Some(error), .. }) => {
            not("RuntimeNotUsable", format!("default runtime {}: {error}", path.display()))
        }
        Some(_) => Condition { name: NAME, status: true, reason: "", message: String::new() },
    }
}

fn network_ready(network: Readiness) -> Condition {
    const NAME: &str = "NetworkReady";
    match network {
        Readiness::Ready => Condition { name: NAME, status: true, reason: "", message: String::new() },
        Readiness::NotReady { reason, message } => Condition { name: NAME, status: false, reason, message },
    }
}
