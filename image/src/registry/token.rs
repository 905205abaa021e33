//! Fetches tokens from the token server that a challenge names (distribution-spec, token authentication; distribution's
//! docs/spec/auth).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Response, Url};
use serde::Deserialize;

use super::body;
use super::failure::{Failure, Kind};
use super::hosts::without_user;
use super::redirect::{Trail, shown};
use super::retry::{self, Tries};
use super::transport::Client;
use crate::Credentials;

/// Names us at token servers that keep count (OAuth2 `client_id`).
const CLIENT_ID: &str = "linkspan";
const MAX_TOKEN_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// What a token server gave.
pub(super) struct Token {
    pub(super) token: String,
    /// `None`: not told.
    pub(super) lifetime: Option<Duration>,
}

/// One wish for a token.
pub(super) struct TokenRequest<'a> {
    pub(super) client: &'a Client,
    /// The host that wants the token.
    pub(super) base: &'a Url,
    pub(super) realm: &'a str,
    pub(super) service: Option<&'a str>,
    pub(super) scopes: Vec<String>,
    pub(super) timeout: Duration,
}

impl TokenRequest<'_> {
    /// Asks for it, more than once while that may help. Without credentials the token is an anonymous one.
    pub(super) async fn fetch(&self, credentials: Option<&Credentials>) -> Result<Token, Failure> {
        let mut tries = Tries::new(true, self.timeout);
        loop {
            match self.fetch_once(credentials).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => tries.next(failure).await?,
            }
        }
    }

    async fn fetch_once(&self, credentials: Option<&Credentials>) -> Result<Token, Failure> {
        let mut url = self.url()?;
        if credentials.is_some() && self.base.scheme() == "https" && url.scheme() != "https" {
            return Err(self.bad("credentials are not sent over plain HTTP for a registry that has TLS"));
        }
        let exchanged = match credentials {
            Some(Credentials::IdentityToken(token)) => Some(self.form(token)),
            other => {
                self.append_query(&mut url, other);
                None
            }
        };
        let basic = match credentials {
            Some(Credentials::Basic { username, password }) => Some(basic(username, password)?),
            _ => None,
        };
        let method = if exchanged.is_some() { "POST" } else { "GET" };
        let (name, mut trail) = (format!("{method} {}", shown(&url)), Trail::new(url));
        let response = loop {
            let url = trail.url().clone();
            let request = match (&exchanged, trail.is_at_home()) {
                (Some(form), true) => {
                    let request = self.client.post(url).body(form.clone());
                    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                }
                (Some(_), false) => {
                    let reason =
                        format!("redirected to {}, which has no claim to the identity token", shown(&url));
                    return Err(self.bad(&reason));
                }
                (None, is_home) => {
                    let request = self.client.get(url);
                    match basic.as_ref().filter(|_| is_home) {
                        Some(basic) => request.header(AUTHORIZATION, basic),
                        None => request,
                    }
                }
            };
            let request = request.header(ACCEPT, "application/json");
            let response = self.client.send(&trail.told(&name), request, self.timeout).await?;
            if !trail.follow(&name, &response)? {
                break response;
            }
        };
        self.read(&trail.told(&name), response).await
    }

    async fn read(&self, name: &str, response: Response) -> Result<Token, Failure> {
        let (status, after) =
            (response.status(), retry::retry_after(response.headers(), std::time::SystemTime::now()));
        let bytes = body::read(name, response, MAX_TOKEN_BYTES, self.timeout).await?;
        if !status.is_success() {
            let failure = Failure::status(name, status, &bytes);
            // A refusal of the token server is one of the registry: 400 is OAuth2's for bad grants.
            let refused = status.is_client_error() && !failure.transient;
            let kind = if refused { Kind::Unauthorized } else { failure.kind };
            return Err(Failure { kind, retry_after: after, ..failure });
        }
        parse(name, &bytes)
    }

    fn url(&self) -> Result<Url, Failure> {
        address(self.base, self.realm).map_err(|error| self.bad(&error))
    }

    fn bad(&self, reason: &str) -> Failure {
        let realm = self.base.join(self.realm).map_or_else(|_| String::new(), |url| shown(&url));
        Failure::new(Kind::Unauthorized, format!("token realm {realm:?} of {}: {reason}", self.base))
    }

    fn append_query(&self, url: &mut Url, credentials: Option<&Credentials>) {
        let mut query = url.query_pairs_mut();
        if let Some(service) = self.service {
            query.append_pair("service", service);
        }
        for scope in &self.scopes {
            query.append_pair("scope", scope);
        }
        if let Some(Credentials::Basic { username, .. }) = credentials {
            query.append_pair("account", username);
        }
        query.append_pair("client_id", CLIENT_ID);
    }

    /// OAuth2's exchange of a refresh token (distribution's docs/spec/auth/oauth.md).
    fn form(&self, refresh_token: &str) -> String {
        let mut scratch = self.base.clone();
        scratch.set_query(None);
        let mut pairs = scratch.query_pairs_mut();
        pairs.append_pair("grant_type", "refresh_token").append_pair("refresh_token", refresh_token);
        pairs.append_pair("service", self.service.unwrap_or_default());
        pairs.append_pair("scope", &self.scopes.join(" ")).append_pair("client_id", CLIENT_ID);
        drop(pairs);
        scratch.query().unwrap_or_default().to_owned()
    }
}

/// Where a realm is; `base` is the host that named it.
pub(super) fn address(base: &Url, realm: &str) -> Result<Url, String> {
    base.join(realm).map(without_user).map_err(|error| error.to_string())
}

/// The answer to the request `name`.
pub(super) fn parse(name: &str, bytes: &[u8]) -> Result<Token, Failure> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        // Its own words may quote the token.
        Failure::new(Kind::Unavailable, format!("{name}: malformed token answer at {place}"))
    })?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let missing = || Failure::new(Kind::Unauthorized, format!("{name}: the answer has no token"));
    // Docker's token server says 0 for "not told".
    let lifetime = answer.expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs);
    Ok(Token { token: token.ok_or_else(missing)?, lifetime })
}

pub(super) fn basic(username: &str, password: &str) -> Result<HeaderValue, Failure> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

pub(super) fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Result<HeaderValue, Failure> {
    let malformed =
        |_| Failure::new(Kind::Unauthorized, "the token has characters no header may have".to_owned());
    let mut value = HeaderValue::from_str(text).map_err(malformed)?;
    value.set_sensitive(true);
    Ok(value)
}
