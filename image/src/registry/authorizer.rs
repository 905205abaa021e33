//! Answers a host's challenges: basic, bearer tokens from a token server, identity and registry tokens.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use reqwest::Url;
use tokio::sync::{Mutex, OnceCell};

use super::challenge::Challenge;
use super::credentials;
use super::failure::{Failure, Kind};
use super::hosts::Trust;
use super::token::{TokenRequest, basic, bearer};
use super::transport::Client;
use crate::Credentials;

/// Validity of a token whose server names none (distribution-spec, token authentication).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

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
    /// The node's own; `None` for a host that shall have none of them.
    pub(crate) auth_file: Option<PathBuf>,
    /// Host and repository as `auth.json` names them.
    pub(crate) host: String,
    pub(crate) named_repository: String,
    /// The repository at the host; empty if it is not known.
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
                state.header = Some(bearer(&answer.token)?);
                // A little early is better than a little late.
                let lifetime = answer.lifetime.unwrap_or(DEFAULT_LIFETIME);
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
        if !covered && !self.source.repository.is_empty() {
            scopes.push(own);
        }
        scopes
    }

    async fn credentials(&self, base: &Url) -> Result<Option<&Credentials>, Failure> {
        let source = &self.source;
        if let Claim::Own(credentials) = &source.claim {
            return Ok(Some(credentials));
        }
        let found = self.found.get_or_try_init(|| async {
            match &source.auth_file {
                Some(file) => credentials::look_up(file, &source.host, &source.named_repository).await,
                None => Ok(None),
            }
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
