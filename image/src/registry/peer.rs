//! One host of a session: requests, redirects, challenges.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Response, Url};
use tokio::sync::OnceCell;

use super::authorizer::{Authorizer, Claim, Source};
use super::failure::{Failure, Kind};
use super::hosts::{Endpoint, Trust};
use super::redirect::{Site, Trail};
use super::transport::Client;
use super::{Settings, Transport, body, retry};
use crate::Reference;

/// Answers to challenges in one request: a stale token, then one with the scope that was asked for, and the same at
/// the host that a redirect leads to.
const MAX_CHALLENGES: usize = 4;
const MAX_ERROR_BYTES: usize = 1 << 16;

/// A host and what we know of it.
pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    transport: Transport,
    client: OnceCell<Client>,
    pub(super) authorizer: Arc<Authorizer>,
    /// Of hosts that redirects led to and that asked who we are.
    strangers: Mutex<HashMap<Site, Arc<Authorizer>>>,
    auth_file: PathBuf,
    /// Has answered in plain HTTP, and does not speak TLS.
    is_plain: AtomicBool,
    has_failed: AtomicBool,
    timeout: Duration,
}

/// How it went with a peer, when all tries were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// The answer to a request, after redirects.
struct Arrival {
    response: Response,
    trail: Trail,
    /// Sent with the last of the requests.
    authorization: Option<HeaderValue>,
}

/// One request.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// After `/v2/<repository>/`.
    pub(super) path: &'a str,
    pub(super) accept: &'a str,
    /// First byte that is wanted.
    pub(super) from: u64,
}

impl Peer {
    pub(super) fn new(settings: &Settings, endpoint: Endpoint, reference: &Reference, claim: Claim) -> Self {
        // A registry whose location `registries.conf` moved is known by its new name.
        let is_named = endpoint.trust == Trust::Origin && endpoint.is_at(reference.registry());
        let (host, named_repository) = match is_named {
            true => (reference.registry().to_owned(), reference.repository().to_owned()),
            false => (endpoint.host(), endpoint.repository.clone()),
        };
        let source = Source {
            claim,
            auth_file: Some(settings.auth_file.clone()),
            host,
            named_repository,
            repository: endpoint.repository.clone(),
        };
        let is_plain = AtomicBool::new(endpoint.base.scheme() == "http");
        Self {
            endpoint,
            transport: settings.transport.clone(),
            client: OnceCell::new(),
            authorizer: Arc::new(Authorizer::new(source, settings.progress_timeout)),
            strangers: Mutex::default(),
            auth_file: settings.auth_file.clone(),
            is_plain,
            has_failed: AtomicBool::new(false),
            timeout: settings.progress_timeout,
        }
    }

    pub(super) fn note(&self, outcome: Outcome) {
        self.has_failed.store(outcome == Outcome::Failed, Ordering::Relaxed);
    }

    /// At its last request.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// `GET https://host/v2/…`, for messages.
    pub(super) fn name(&self, ask: &Ask<'_>) -> String {
        format!("{} {}", ask.method.name(), self.url(ask))
    }

    /// Sends the request once, not counting redirects, challenges and the step from HTTPS to HTTP. A success
    /// (200 or 206) is returned, all else is a failure.
    pub(super) async fn once(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let client = self.client().await?;
        let mut challenges = 0;
        loop {
            let Arrival { response, trail, authorization } = self.send(client, ask).await?;
            if response.status() == StatusCode::UNAUTHORIZED && challenges < MAX_CHALLENGES {
                challenges += 1;
                let url = response.url();
                let authorizer = self.authorizer_at(url).unwrap_or_else(|| self.meet(url));
                let (headers, sent) = (response.headers(), authorization.as_ref());
                let answered = authorizer.challenged(client, &self.base_at(url), headers, sent).await;
                if answered.map_err(|failure| self.hinted(failure))? {
                    continue;
                }
            }
            return self.judge(&trail.told(&self.name(ask)), response).await;
        }
    }

    /// Success, or the failure that the answer tells.
    async fn judge(&self, name: &str, response: Response) -> Result<Response, Failure> {
        let (status, is_ours) = (response.status(), self.is_ours(response.url()));
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            _ => {
                let after = retry::retry_after(response.headers(), SystemTime::now());
                // The words are a courtesy: the status counts without them.
                let words =
                    body::read(name, response, MAX_ERROR_BYTES, self.timeout).await.unwrap_or_default();
                let failure = Failure { retry_after: after, ..Failure::status(name, status, &words) };
                Err(if is_ours { self.hinted(failure) } else { failure })
            }
        }
    }

    /// A refusal that credentials might have prevented says why they were not sent.
    fn hinted(&self, mut failure: Failure) -> Failure {
        if failure.kind == Kind::Unauthorized && self.authorizer.withholds(&self.base()) {
            let hint = " (the credentials of the pull are not for this host; auth.json may have some for it)";
            failure.text.push_str(hint);
        }
        failure
    }

    /// Follows redirects; each host gets its own credentials or none, and configured headers go to ours only.
    async fn send(&self, client: &Client, ask: &Ask<'_>) -> Result<Arrival, Failure> {
        let mut trail = Trail::new(self.url(ask));
        loop {
            let url = trail.url().clone();
            let authorization = match self.authorizer_at(&url) {
                Some(authorizer) => authorizer.header(client, &self.base_at(&url)).await?,
                None => None,
            };
            let response = self.ask_at(client, ask, &trail, authorization.as_ref()).await?;
            if !trail.follow(&self.name(ask), &response)? {
                return Ok(Arrival { response, trail, authorization });
            }
        }
    }

    /// Asks at one address. What does not speak TLS at an address that need not is asked in plain, without a secret
    /// until it has answered so: the next try is TLS again if it has not.
    async fn ask_at(
        &self,
        client: &Client,
        ask: &Ask<'_>,
        trail: &Trail,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let (name, url) = (trail.told(&self.name(ask)), trail.url());
        let mut headers = match self.is_ours(url) {
            true => self.endpoint.headers.clone(),
            false => HeaderMap::new(),
        };
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let failure = match self.send_to(client, ask, &name, url.clone(), headers.clone()).await {
            Err(failure) if self.may_fall_back(url, &failure) => failure,
            answered => return answered,
        };
        let plain = in_plain(url.clone());
        let name = format!("{} {plain}", ask.method.name());
        let answer = match self.send_to(client, ask, &name, plain.clone(), HeaderMap::new()).await {
            Ok(answer) if is_spoken(&answer) => answer,
            Ok(answer) => {
                let text = format!("{}; {name}: {}", failure.text, answer.status());
                return Err(Failure { text, ..failure });
            }
            Err(second) => {
                let text = format!("{}; {}", failure.text, second.text);
                return Err(Failure { text, ..failure });
            }
        };
        self.is_plain.store(true, Ordering::Relaxed);
        match headers.is_empty() {
            true => Ok(answer),
            false => self.send_to(client, ask, &name, plain, headers).await,
        }
    }

    async fn send_to(
        &self,
        client: &Client,
        ask: &Ask<'_>,
        name: &str,
        url: Url,
        headers: HeaderMap,
    ) -> Result<Response, Failure> {
        let mut request = match ask.method {
            Method::Get => client.get(url),
            Method::Head => client.head(url),
        };
        request = request.headers(headers);
        request = request.header(ACCEPT, ask.accept).header(ACCEPT_ENCODING, "identity");
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        client.send(name, request, self.timeout).await
    }

    /// Who answers the challenges of the host of `url`; `None` if it has not asked yet.
    fn authorizer_at(&self, url: &Url) -> Option<Arc<Authorizer>> {
        if self.is_ours(url) {
            return Some(self.authorizer.clone());
        }
        self.strangers().get(&Site::of(url)).cloned()
    }

    /// A host that a redirect led to asks who we are. Nothing that is known here is for it: it gets what the node
    /// has for it, or an anonymous token of its own realm.
    fn meet(&self, url: &Url) -> Arc<Authorizer> {
        let site = Site::of(url);
        let repository = repository_in(url).unwrap_or_default();
        // The redirect chose the address, and the TLS settings are another host's.
        let is_private = site.is_private(self.endpoint.tls.skip_verify);
        let source = Source {
            claim: Claim::Nothing,
            auth_file: is_private.then(|| self.auth_file.clone()),
            host: site.host().to_owned(),
            named_repository: repository.clone(),
            repository,
        };
        let meet = || Arc::new(Authorizer::new(source, self.timeout));
        self.strangers().entry(site).or_insert_with(meet).clone()
    }

    fn strangers(&self) -> std::sync::MutexGuard<'_, HashMap<Site, Arc<Authorizer>>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What challenges of the host of `url` are read against.
    fn base_at(&self, url: &Url) -> Url {
        if self.is_ours(url) {
            return self.base();
        }
        let mut base = url.clone();
        base.set_path("/");
        base.set_query(None);
        base
    }

    fn may_fall_back(&self, url: &Url, failure: &Failure) -> bool {
        let still_tls = self.endpoint.http_fallback && !self.is_plain.load(Ordering::Relaxed);
        still_tls && url.scheme() == "https" && self.is_ours(url) && failure.may_be_plain
    }

    async fn client(&self) -> Result<&Client, Failure> {
        let made = self.client.get_or_try_init(|| self.transport.client(&self.endpoint)).await;
        made.map_err(Failure::content)
    }

    fn base(&self) -> Url {
        match self.is_plain.load(Ordering::Relaxed) {
            true => in_plain(self.endpoint.base.clone()),
            false => self.endpoint.base.clone(),
        }
    }

    fn url(&self, ask: &Ask<'_>) -> Url {
        let mut url = self.base();
        let path = format!("{}/{}/{}", url.path().trim_end_matches('/'), self.endpoint.repository, ask.path);
        url.set_path(&path);
        if let Some(namespace) = &self.endpoint.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// Same scheme, host and port as the configured one.
    fn is_ours(&self, url: &Url) -> bool {
        Site::of(url) == Site::of(&self.base())
    }
}

/// The same in plain HTTP. An address without a port keeps meaning the scheme's own.
fn in_plain(mut url: Url) -> Url {
    // Only addresses of no special scheme refuse.
    let _ = url.set_scheme("http");
    url
}

/// Whether an answer in plain HTTP says that the host speaks that: servers of TLS, too, answer plain requests, with 400
/// or with the way to HTTPS.
fn is_spoken(answer: &Response) -> bool {
    let location = answer.headers().get(LOCATION).map(HeaderValue::as_bytes);
    let leads_to_tls = answer.status().is_redirection()
        && location.is_some_and(|target| target.get(..6).is_some_and(|s| s.eq_ignore_ascii_case(b"https:")));
    answer.status() != StatusCode::BAD_REQUEST && !leads_to_tls
}

/// The repository of an address of the distribution protocol.
fn repository_in(url: &Url) -> Option<String> {
    let (_, rest) = url.path().split_once("/v2/")?;
    let end = ["/manifests/", "/blobs/"].iter().find_map(|part| rest.find(part))?;
    Some(rest[..end].to_owned())
}
