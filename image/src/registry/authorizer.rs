//! Answers a host's challenges: basic, bearer tokens from a token server, identity and registry tokens.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::sync::{Mutex, OnceCell};

use super::body;
use super::challenge::Challenge;
use super::credentials;
use super::failure::{Failure, Kind};
use super::hosts::Trust;
use super::retry::{self, Tries};
use crate::Credentials;

/// Names us at token servers that keep count (OAuth2 `client_id`).
const CLIENT_ID: &str = "linkspan";
/// Validity of a token whose server names none (distribution-spec, token authentication).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);
const MAX_TOKEN_BYTES: usize = 1 << 20;

/// What a host may have of the credentials that came with the pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// They are for it, and go before what the node has for it.
    Own(Credentials),
    /// By the administrator's leave, if the node has nothing for it, and over TLS only.
    Lent(Credentials),
    /// They are not for it.
    Withheld,
    /// None came.
    Nothing,
}

impl Claim {
    /// A registry token opens what it was made for without another word, so that no mirror has it.
    pub(crate) fn decide(trust: Trust, request: Option<&Credentials>, lends_to_mirrors: bool) -> Self {
        match (trust, request) {
            (_, None) => Self::Nothing,
            (Trust::Origin, Some(credentials)) => Self::Own(credentials.clone()),
            (Trust::Mirror, Some(Credentials::RegistryToken(_))) => Self::Withheld,
            (Trust::Mirror, Some(credentials)) if lends_to_mirrors => Self::Lent(credentials.clone()),
            (Trust::Mirror, Some(_)) => Self::Withheld,
        }
    }
}

/// Where a host's credentials come from.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) claim: Claim,
    /// The node's own.
    pub(crate) auth_file: PathBuf,
    /// Host and repository as `auth.json` names them.
    pub(crate) host: String,
    pub(crate) named_repository: String,
    /// The repository at the host.
    pub(crate) repository: String,
}

/// The state of authentication at one host, for one repository.
pub(crate) struct Authorizer {
    source: Source,
    /// What `auth.json` has for the host.
    found: OnceCell<Option<Credentials>>,
    /// Held while a token is fetched, so that layers in parallel fetch one.
    state: Mutex<State>,
    /// Longest silence of a token server.
    timeout: Duration,
}

#[derive(Default)]
struct State {
    challenge: Option<Challenge>,
    header: Option<HeaderValue>,
    /// When `header` is no longer good; `None`: does not expire.
    expires: Option<Instant>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authorizer {
    pub(crate) fn new(source: Source, timeout: Duration) -> Self {
        Self { source, found: OnceCell::new(), state: Mutex::default(), timeout }
    }

    /// The `Authorization` for the next request; a token about to expire is fetched anew first.
    pub(crate) async fn header(&self, client: &Client, base: &Url) -> Result<Option<HeaderValue>, Failure> {
        if let Claim::Own(Credentials::RegistryToken(token)) = &self.source.claim {
            return bearer(token).map(Some);
        }
        let mut state = self.state.lock().await;
        if state.expires.is_some_and(|expires| expires <= Instant::now()) {
            self.answer(&mut state, client, base).await?;
        }
        Ok(state.header.clone())
    }

    /// Takes a 401 in. `Ok(true)`: try again with a new header. `Ok(false)`: there is no better answer.
    pub(crate) async fn challenged(
        &self,
        client: &Client,
        base: &Url,
        headers: &HeaderMap,
        sent: Option<&HeaderValue>,
    ) -> Result<bool, Failure> {
        let mut state = self.state.lock().await;
        if state.header.is_some() && state.header.as_ref() != sent {
            // Another request was faster.
            return Ok(true);
        }
        let Some(challenge) = Challenge::from_headers(headers) else { return Ok(false) };
        if sent.is_some() && challenge == Challenge::Basic {
            return Ok(false);
        }
        state.challenge = Some(challenge);
        self.answer(&mut state, client, base).await?;
        Ok(state.header.is_some() && state.header.as_ref() != sent)
    }

    /// The present token is no longer good.
    #[cfg(test)]
    pub(super) async fn expire(&self) {
        self.state.lock().await.expires = Some(Instant::now());
    }

    async fn answer(&self, state: &mut State, client: &Client, base: &Url) -> Result<(), Failure> {
        let credentials = self.credentials(base).await?;
        match &state.challenge {
            Some(Challenge::Basic) => {
                state.header = match credentials {
                    Some(Credentials::Basic { username, password }) => Some(basic(username, password)?),
                    Some(Credentials::RegistryToken(token)) => Some(bearer(token)?),
                    _ => None,
                };
                state.expires = None;
            }
            Some(Challenge::Bearer { realm, service, scope }) => {
                let request = TokenRequest {
                    client,
                    base,
                    realm,
                    service: service.as_deref(),
                    scopes: self.scopes(scope.as_deref()),
                    timeout: self.timeout,
                };
                let answer = match credentials {
                    Some(Credentials::RegistryToken(token)) => {
                        state.header = Some(bearer(token)?);
                        state.expires = None;
                        return Ok(());
                    }
                    other => request.fetch(other).await?,
                };
                let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
                let missing =
                    || Failure::new(Kind::Unauthorized, format!("GET {realm}: the answer has no token"));
                state.header = Some(bearer(&token.ok_or_else(missing)?)?);
                // Docker's token server says 0 for "not told"; a little early is better than a little late.
                let lifetime = answer.expires_in.filter(|seconds| *seconds > 0).map(Duration::from_secs);
                let lifetime = lifetime.unwrap_or(DEFAULT_LIFETIME);
                state.expires = Instant::now().checked_add(lifetime - lifetime / 10);
            }
            None => {}
        }
        Ok(())
    }

    /// What the registry asked for, and reading our repository; both, if they differ.
    fn scopes(&self, asked: Option<&str>) -> Vec<String> {
        let own = format!("repository:{}:pull", self.source.repository);
        let mut scopes: Vec<String> =
            asked.unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        let prefix = format!("repository:{}:", self.source.repository);
        let covered = scopes.iter().any(|scope| {
            scope
                .strip_prefix(&prefix)
                .is_some_and(|actions| actions.split(',').any(|a| a == "pull" || a == "*"))
        });
        if !covered {
            scopes.push(own);
        }
        scopes
    }

    async fn credentials(&self, base: &Url) -> Result<Option<&Credentials>, Failure> {
        let source = &self.source;
        if let Claim::Own(credentials) = &source.claim {
            return Ok(Some(credentials));
        }
        let found = self.found.get_or_try_init(|| {
            credentials::look_up(&source.auth_file, &source.host, &source.named_repository)
        });
        let unusable = |error| Failure { kind: Kind::Unauthorized, ..Failure::content(error) };
        Ok(match (found.await.map_err(unusable)?, &source.claim) {
            (Some(found), _) => Some(found),
            (None, Claim::Lent(lent)) if base.scheme() == "https" => Some(lent),
            (None, _) => None,
        })
    }

    /// The pull brought credentials that the host at `base` would not get, and the node has none for it.
    pub(crate) fn withholds(&self, base: &Url) -> bool {
        let is_withheld = match &self.source.claim {
            Claim::Withheld => true,
            Claim::Lent(_) => base.scheme() != "https",
            Claim::Own(_) | Claim::Nothing => false,
        };
        is_withheld && !matches!(self.found.get(), Some(Some(_)))
    }
}

struct TokenRequest<'a> {
    client: &'a Client,
    base: &'a Url,
    realm: &'a str,
    service: Option<&'a str>,
    scopes: Vec<String>,
    timeout: Duration,
}

impl TokenRequest<'_> {
    async fn fetch(&self, credentials: Option<&Credentials>) -> Result<TokenAnswer, Failure> {
        let mut tries = Tries::new(true, self.timeout);
        loop {
            match self.fetch_once(credentials).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => tries.next(failure).await?,
            }
        }
    }

    async fn fetch_once(&self, credentials: Option<&Credentials>) -> Result<TokenAnswer, Failure> {
        let bad = |reason: String| {
            Failure::new(
                Kind::Unauthorized,
                format!("token realm {:?} of {}: {reason}", self.realm, self.base),
            )
        };
        let mut url = self.base.join(self.realm).map_err(|error| bad(error.to_string()))?;
        if credentials.is_some() && self.base.scheme() == "https" && url.scheme() != "https" {
            return Err(bad(
                "credentials are not sent over plain HTTP for a registry that has TLS".to_owned()
            ));
        }
        let request = match credentials {
            Some(Credentials::IdentityToken(token)) => {
                let form = self.form(token);
                let request = self.client.post(url.clone()).body(form);
                request.header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            }
            other => {
                self.append_query(&mut url, other);
                let request = self.client.get(url.clone());
                match other {
                    Some(Credentials::Basic { username, password }) => {
                        request.header(AUTHORIZATION, basic(username, password)?)
                    }
                    _ => request,
                }
            }
        };
        let method = if matches!(credentials, Some(Credentials::IdentityToken(_))) { "POST" } else { "GET" };
        url.set_query(None);
        let name = format!("{method} {url}");
        let sent =
            tokio::time::timeout(self.timeout, request.header(ACCEPT, "application/json").send()).await;
        let response = match sent {
            Err(_) => return Err(Failure::new(Kind::TimedOut, format!("{name}: no answer"))),
            Ok(answer) => answer.map_err(|error| Failure::transport(&name, error))?,
        };
        let (status, after) =
            (response.status(), retry::retry_after(response.headers(), std::time::SystemTime::now()));
        let bytes = body::read(&name, response, MAX_TOKEN_BYTES, self.timeout).await?;
        if !status.is_success() {
            let failure = Failure::status(&name, status, &bytes);
            // A refusal of the token server is one of the registry: 400 is OAuth2's for bad grants.
            let refused = status.is_client_error() && !failure.transient;
            let kind = if refused { Kind::Unauthorized } else { failure.kind };
            return Err(Failure { kind, retry_after: after, ..failure });
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(Kind::Unavailable, format!("{name}: malformed token: {error}")))
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

fn basic(username: &str, password: &str) -> Result<HeaderValue, Failure> {
    secret(&format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))))
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    secret(&format!("Bearer {token}"))
}

fn secret(text: &str) -> Result<HeaderValue, Failure> {
    let malformed =
        |_| Failure::new(Kind::Unauthorized, "the token has characters no header may have".to_owned());
    let mut value = HeaderValue::from_str(text).map_err(malformed)?;
    value.set_sensitive(true);
    Ok(value)
}
