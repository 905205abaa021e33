//! What a client may speak: its request's headers, and what its URL stands for, give a protocol and the headers of the answer, or a refusal. Pure.
//!
//! Sources: RFC 6455 section 4.2; the upgrade to SPDY and the protocol names as the kubelet, kubectl and crictl use them
//! (k8s.io/cri-streaming v0.37, `remotecommand` and `portforward`). A client names protocols by preference, and its first that we know wins.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    ALLOW, CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::remote_command::Version;
use super::request::Ticket;
use super::websocket::Encoding;

pub(super) const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";
/// RFC 6455, section 1.3.
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the connection carries once it is upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Spdy,
    /// SPDY frames as the bytes of binary messages.
    SpdyInWebSocket,
    /// Numbered channels, one message each time.
    WebSocket(Encoding),
}

/// What a URL stands for, as far as it decides what may be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// Exec and attach.
    RemoteCommand,
    /// How many ports the request named: channels without SPDY are laid out by them.
    PortForward { ports: usize },
}

/// The outcome: how to go on, and the headers of the `101 Switching Protocols`.
#[derive(Clone, Debug)]
pub(crate) struct Negotiated {
    pub(crate) transport: Transport,
    /// Of the remote command protocol; port-forward has but one.
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
}

/// Why there is no protocol: an answer to send instead.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), message: message.into() }
    }
}

/// One name of the list that we accept.
type Offer = (&'static str, Transport, Version);

const SPDY_REMOTE_COMMAND: &[Offer] = &[
    ("v4.channel.k8s.io", Transport::Spdy, Version::V4),
    ("v3.channel.k8s.io", Transport::Spdy, Version::V3),
    ("v2.channel.k8s.io", Transport::Spdy, Version::V2),
    ("channel.k8s.io", Transport::Spdy, Version::V1),
];

const SPDY_PORT_FORWARD: &[Offer] = &[("portforward.k8s.io", Transport::Spdy, Version::V1)];

/// The fifth version has no base64 form: its close signal is a byte that no text may hold.
const WEBSOCKET_REMOTE_COMMAND: &[Offer] = &[
    ("v5.channel.k8s.io", Transport::WebSocket(Encoding::Binary), Version::V5),
    ("v4.channel.k8s.io", Transport::WebSocket(Encoding::Binary), Version::V4),
    ("v4.base64.channel.k8s.io", Transport::WebSocket(Encoding::Base64), Version::V4),
    ("v3.channel.k8s.io", Transport::WebSocket(Encoding::Binary), Version::V3),
    ("v3.base64.channel.k8s.io", Transport::WebSocket(Encoding::Base64), Version::V3),
    ("v2.channel.k8s.io", Transport::WebSocket(Encoding::Binary), Version::V2),
    ("v2.base64.channel.k8s.io", Transport::WebSocket(Encoding::Base64), Version::V2),
    ("channel.k8s.io", Transport::WebSocket(Encoding::Binary), Version::V1),
    ("base64.channel.k8s.io", Transport::WebSocket(Encoding::Base64), Version::V1),
];

const WEBSOCKET_PORT_FORWARD: &[Offer] = &[
    ("SPDY/3.1+portforward.k8s.io", Transport::SpdyInWebSocket, Version::V1),
    ("v4.channel.k8s.io", Transport::WebSocket(Encoding::Binary), Version::V4),
    ("v4.base64.channel.k8s.io", Transport::WebSocket(Encoding::Base64), Version::V4),
];

/// Two channels each, whose numbers are a character of ASCII in the base64 form.
const MAX_PORTS: usize = 39;

/// Of a WebSocket client that names no protocol.
const UNNAMED: (Transport, Version) = (Transport::WebSocket(Encoding::Binary), Version::V1);

/// What a client that opened the URL of `ticket` with this request may speak.
pub(crate) fn negotiate(parts: &Parts, ticket: &Ticket) -> Result<Negotiated, Refused> {
    let subject = match ticket {
        Ticket::Exec { .. } | Ticket::Attach { .. } => Subject::RemoteCommand,
        Ticket::PortForward { ports, .. } => Subject::PortForward { ports: ports.len() },
    };
    choose(&parts.method, &parts.headers, subject)
}

fn choose(method: &Method, headers: &HeaderMap, subject: Subject) -> Result<Negotiated, Refused> {
    let asks = |what| has_token(headers, &CONNECTION, "upgrade") && has_token(headers, &UPGRADE, what);
    if asks(WEBSOCKET) {
        websocket(method, headers, subject)
    } else if asks(SPDY) {
        spdy(headers, subject)
    } else {
        let message = format!("unable to upgrade: the request asks neither for {SPDY} nor for {WEBSOCKET}");
        Err(Refused::new(StatusCode::BAD_REQUEST, message))
    }
}

fn spdy(headers: &HeaderMap, subject: Subject) -> Result<Negotiated, Refused> {
    let offers = match subject {
        Subject::RemoteCommand => SPDY_REMOTE_COMMAND,
        Subject::PortForward { .. } => SPDY_PORT_FORWARD,
    };
    let asked = tokens(headers, &STREAM_PROTOCOL);
    if asked.is_empty() {
        let message = format!("unable to upgrade: header {STREAM_PROTOCOL} names no protocol");
        return Err(Refused::new(StatusCode::BAD_REQUEST, message));
    }
    let Some(&(name, transport, version)) = first_known(&asked, offers) else {
        let mut refused = Refused::new(StatusCode::FORBIDDEN, no_match(&asked, offers));
        for (name, ..) in offers {
            refused.headers.push((ACCEPTED_STREAM_PROTOCOLS, HeaderValue::from_static(name)));
        }
        return Err(refused);
    };
    let mut answer = upgrade_to(SPDY);
    answer.insert(STREAM_PROTOCOL, HeaderValue::from_static(name));
    Ok(Negotiated { transport, version, headers: answer })
}

fn websocket(method: &Method, headers: &HeaderMap, subject: Subject) -> Result<Negotiated, Refused> {
    let mut answer = websocket_handshake(method, headers)?;
    let offers = match subject {
        Subject::RemoteCommand => WEBSOCKET_REMOTE_COMMAND,
        Subject::PortForward { .. } => WEBSOCKET_PORT_FORWARD,
    };
    let asked = tokens(headers, &SEC_WEBSOCKET_PROTOCOL);
    let (transport, version) = match first_known(&asked, offers) {
        Some(&(name, transport, version)) => {
            answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
            (transport, version)
        }
        None if asked.is_empty() => UNNAMED,
        None => return Err(Refused::new(StatusCode::FORBIDDEN, no_match(&asked, offers))),
    };
    if let (Subject::PortForward { ports }, Transport::WebSocket(_)) = (subject, transport)
        && !(1..=MAX_PORTS).contains(&ports)
    {
        let message = format!(
            "unable to upgrade: this protocol wants 1 to {MAX_PORTS} ports in the request, not {ports}"
        );
        return Err(Refused::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(Negotiated { transport, version, headers: answer })
}

/// RFC 6455, section 4.2.1, and the headers of the answer but the protocol's.
fn websocket_handshake(method: &Method, headers: &HeaderMap) -> Result<HeaderMap, Refused> {
    if method != Method::GET {
        let mut refused =
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "unable to upgrade: a WebSocket begins with GET");
        refused.headers.push((ALLOW, HeaderValue::from_static("GET")));
        return Err(refused);
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut refused = Refused::new(
            StatusCode::UPGRADE_REQUIRED,
            "unable to upgrade: the only WebSocket version here is 13",
        );
        refused.headers.push((SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        return Err(refused);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map_or(&[][..], |key| key.as_bytes()).trim_ascii();
    if STANDARD.decode(key).map_or(true, |nonce| nonce.len() != 16) {
        let message = format!("unable to upgrade: header {SEC_WEBSOCKET_KEY} is not the base64 of 16 bytes");
        return Err(Refused::new(StatusCode::BAD_REQUEST, message));
    }
    let mut answer = upgrade_to(WEBSOCKET);
    let accept = HeaderValue::from_str(&accept_key(key)).expect("base64 is a header's value");
    answer.insert(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(answer)
}

/// RFC 6455, section 4.2.2, point 5.4. SHA-1 is what it says; nothing is kept secret by it.
fn accept_key(key: &[u8]) -> String {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(WEBSOCKET_GUID.as_bytes());
    STANDARD.encode(digest.finish())
}

fn upgrade_to(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(protocol));
    headers
}

fn first_known(asked: &[&str], offers: &'static [Offer]) -> Option<&'static Offer> {
    asked.iter().find_map(|asked| offers.iter().find(|(name, ..)| name == asked))
}

fn no_match(asked: &[&str], offers: &[Offer]) -> String {
    let ours: Vec<_> = offers.iter().map(|(name, ..)| *name).collect();
    format!("unable to upgrade: the client speaks {asked:?}, the server {ours:?}")
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).iter().any(|value| value.eq_ignore_ascii_case(token))
}

/// The values of a header that may be repeated, and be a comma separated list each time.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty()).collect()
}

#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
#[cfg(test)]
mod tests;
