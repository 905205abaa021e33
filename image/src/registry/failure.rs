//! Why a request failed, before it is known whether another try or host will do better.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use crate::Error;

/// What sort of failure it was: decides about repetition and about the error that the caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    NotFound,
    Unauthorized,
    Unavailable,
    TimedOut,
}

/// One failed request. `text` names the request, the host and the registry's own words.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    /// Another try at the same host may help.
    pub(crate) transient: bool,
    /// Nobody at this port, or somebody who does not speak TLS: not what a broken connection or a silence looks like.
    pub(crate) may_be_plain: bool,
    /// The wait that the registry asked for.
    pub(crate) retry_after: Option<Duration>,
    /// A broken promise (digest, size): stands as it is if nobody does better.
    pub(crate) error: Option<Error>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, text: String) -> Self {
        Self { kind, text, transient: false, may_be_plain: false, retry_after: None, error: None }
    }

    pub(crate) fn transient(self) -> Self {
        Self { transient: true, ..self }
    }

    /// The registry or something before it sent other content than was asked for.
    pub(crate) fn content(error: Error) -> Self {
        Self { error: Some(error.clone()), ..Self::new(Kind::Unavailable, error.to_string()) }
    }

    /// No answer came: refused, reset, TLS.
    pub(crate) fn transport(request: &str, error: reqwest::Error) -> Self {
        let kind = if error.is_timeout() { Kind::TimedOut } else { Kind::Unavailable };
        let is_tls = speaks_tls(&error);
        let may_be_plain = error.is_connect() && may_be_plain(&error);
        // A certificate does not get better by asking again.
        Self { transient: !is_tls, may_be_plain, ..Self::new(kind, format!("{request}: {}", chain(error))) }
    }

    /// An answer that is no success.
    pub(crate) fn status(request: &str, status: StatusCode, body: &[u8]) -> Self {
        let kind = match status {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Unauthorized,
            _ => Kind::Unavailable,
        };
        let transient = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
        let words = words_of(body).map(|words| format!(": {words}")).unwrap_or_default();
        Self { transient, ..Self::new(kind, format!("{request}: {status}{words}")) }
    }

    /// The error for the caller, after `tried` (earlier hosts' failures) and this, the last one.
    pub(crate) fn into_error(self, what: &str, tried: &[Self]) -> Error {
        let texts: Vec<&str> = tried.iter().chain([&self]).map(|failure| failure.text.as_str()).collect();
        let (what, reason) = (what.to_owned(), texts.join("; "));
        match self.kind {
            _ if self.error.is_some() && tried.is_empty() => self.error.unwrap_or(Error::NotFound { what }),
            Kind::NotFound => Error::NotFound { what: format!("{what}: {reason}") },
            Kind::Unauthorized => Error::Unauthorized { what, reason },
            Kind::Unavailable => Error::RegistryUnavailable { what, reason },
            Kind::TimedOut => Error::TimedOut { what: format!("{what}: {reason}") },
        }
    }
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// What is behind an error, one cause after the other.
fn causes(error: &reqwest::Error) -> impl Iterator<Item = Cause<'_>> {
    std::iter::successors(error.source(), cause_of)
}

/// What an I/O error wraps is not its source, and it may wrap another.
fn cause_of<'a>(error: &Cause<'a>) -> Option<Cause<'a>> {
    let error: Cause<'a> = *error;
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped as Cause<'a>),
        None => error.source(),
    }
}

/// The peer answered in TLS, even if we did not like its certificate, or it ours.
fn speaks_tls(error: &reqwest::Error) -> bool {
    let tls = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>());
    tls.is_some_and(|tls| !matches!(tls, rustls::Error::InvalidMessage(_)))
}

fn may_be_plain(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        let refused = |io: &io::Error| io.kind() == io::ErrorKind::ConnectionRefused;
        matches!(cause.downcast_ref(), Some(rustls::Error::InvalidMessage(_)))
            || cause.downcast_ref().is_some_and(refused)
    })
}

/// reqwest hides the cause ("error sending request"); the chain of sources tells it.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.ends_with(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    text
}

/// The registry's own words (distribution-spec, "Error Codes"; token servers answer `details` or `error`).
fn words_of(body: &[u8]) -> Option<String> {
    const MAX_CHARS: usize = 400;
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        errors: Vec<Item>,
        #[serde(alias = "error_description", alias = "message")]
        details: Option<String>,
        error: Option<String>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
        detail: Option<serde_json::Value>,
    }
    let text = match serde_json::from_slice::<Body>(body) {
        Ok(parsed) if !parsed.errors.is_empty() => {
            let items = parsed.errors.iter().map(|item| match &item.detail {
                Some(serde_json::Value::String(detail)) => {
                    format!("{} {}: {detail}", item.code, item.message)
                }
                _ => format!("{} {}", item.code, item.message),
            });
            items.collect::<Vec<_>>().join(", ")
        }
        Ok(parsed) => parsed.details.or(parsed.error)?,
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            // An HTML page of a proxy tells nothing on one line.
            if text.trim_start().starts_with('<') {
                return None;
            }
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect();
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_words_are_in_the_text() {
        let check = |body: &str, expected: Option<&str>| {
            assert_eq!(words_of(body.as_bytes()).as_deref(), expected, "{body}");
        };
        check(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"x"}}]}"#,
            Some("MANIFEST_UNKNOWN manifest unknown"),
        );
        check(
            r#"{"errors":[{"code":"DENIED","message":"no","detail":"quota"},{"message":"b"}]}"#,
            Some("DENIED no: quota,  b"),
        );
        check(r#"{"details":"incorrect username or password"}"#, Some("incorrect username or password"));
        check(r#"{"error":"invalid_grant"}"#, Some("invalid_grant"));
        check("slow\n down ", Some("slow down"));
        check("<html>502</html>", None);
        check("", None);
        assert_eq!(words_of("x".repeat(1000).as_bytes()).unwrap().len(), 400);
    }

    #[test]
    fn the_last_host_decides_the_kind_and_all_are_named() {
        let mirror = Failure::status("GET https://m/", StatusCode::BAD_GATEWAY, b"");
        let origin = Failure::status("GET https://o/", StatusCode::NOT_FOUND, b"");
        let error = origin.into_error("pulling x", &[mirror]);
        assert!(matches!(error, Error::NotFound { .. }));
        assert_eq!(
            error.to_string(),
            "pulling x: GET https://m/: 502 Bad Gateway; GET https://o/: 404 Not Found: not found"
        );
    }
}
