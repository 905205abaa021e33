//! One host of a session: requests, redirects, challenges.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, LOCATION, RANGE};
use http::{HeaderValue, StatusCode};
use reqwest::{Client, Response, Url};
use tokio::sync::OnceCell;

use super::authorizer::{Authorizer, Claim, Source};
use super::failure::{Failure, Kind};
use super::hosts::{Endpoint, Trust};
use super::{Settings, Transport, body, retry};
use crate::Reference;

const MAX_REDIRECTS: usize = 10;
/// Answers to challenges in one request: a stale token, then one with the scope that was asked for.
const MAX_CHALLENGES: usize = 2;
const MAX_ERROR_BYTES: usize = 1 << 16;

/// A host and what we know of it.
pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    transport: Transport,
    client: OnceCell<Client>,
    pub(super) authorizer: Authorizer,
    /// Found out to speak plain HTTP only.
    is_plain: AtomicBool,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
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
            auth_file: settings.auth_file.clone(),
            host,
            named_repository,
            repository: endpoint.repository.clone(),
        };
        let is_plain = AtomicBool::new(endpoint.base.scheme() == "http");
        Self {
            endpoint,
            transport: settings.transport.clone(),
            client: OnceCell::new(),
            authorizer: Authorizer::new(source, settings.progress_timeout),
            is_plain,
            timeout: settings.progress_timeout,
        }
    }

    /// `GET https://host/v2/…`, for messages.
    pub(super) fn name(&self, ask: &Ask<'_>) -> String {
        let method = if ask.method == Method::Head { "HEAD" } else { "GET" };
        format!("{method} {}", self.url(ask))
    }

    /// Sends the request once, not counting redirects, challenges and the step from HTTPS to HTTP. A success
    /// (200 or 206) is returned, all else is a failure.
    pub(super) async fn once(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let client = self.client().await?;
        let mut challenges = 0;
        loop {
            let authorization = self.authorizer.header(client, &self.base()).await?;
            let response = self.send(client, ask, authorization.as_ref()).await?;
            let status = response.status();
            if status == StatusCode::UNAUTHORIZED
                && challenges < MAX_CHALLENGES
                && self.is_ours(response.url())
            {
                challenges += 1;
                let (headers, sent) = (response.headers(), authorization.as_ref());
                let answered = self.authorizer.challenged(client, &self.base(), headers, sent).await;
                if answered.map_err(|failure| self.hinted(failure))? {
                    continue;
                }
            }
            return self.judge(ask, response).await;
        }
    }

    /// Success, or the failure that the answer tells.
    async fn judge(&self, ask: &Ask<'_>, response: Response) -> Result<Response, Failure> {
        let (status, name) = (response.status(), self.name(ask));
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            _ => {
                let after = retry::retry_after(response.headers(), SystemTime::now());
                // The words are a courtesy: the status counts without them.
                let words =
                    body::read(&name, response, MAX_ERROR_BYTES, self.timeout).await.unwrap_or_default();
                let failure = Failure { retry_after: after, ..Failure::status(&name, status, &words) };
                Err(self.hinted(failure))
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

    /// Follows redirects; credentials and configured headers go to our own host only.
    async fn send(
        &self,
        client: &Client,
        ask: &Ask<'_>,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let name = self.name(ask);
        let mut url = self.url(ask);
        for _ in 0..=MAX_REDIRECTS {
            let response = match self.send_to(client, ask, url.clone(), authorization).await {
                // What does not speak TLS at an address that need not is asked in plain.
                Err(failure) if self.may_fall_back(&url, &failure) => {
                    self.is_plain.store(true, Ordering::Relaxed);
                    let plain = self.url(ask);
                    self.send_to(client, ask, plain, authorization).await.map_err(|second| Failure {
                        text: format!("{}; {}", failure.text, second.text),
                        ..second
                    })?
                }
                other => other?,
            };
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = target.and_then(|target| response.url().join(target).ok());
            url = match target {
                Some(target) if matches!(target.scheme(), "http" | "https") => target,
                _ => return Err(Failure::new(Kind::Unavailable, format!("{name}: redirected to nowhere"))),
            };
        }
        Err(Failure::new(Kind::Unavailable, format!("{name}: more than {MAX_REDIRECTS} redirects")))
    }

    async fn send_to(
        &self,
        client: &Client,
        ask: &Ask<'_>,
        url: Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Failure> {
        let is_ours = self.is_ours(&url);
        let mut shown = url.clone();
        // Signed addresses of object stores carry secrets in their query.
        if !is_ours {
            shown.set_query(None);
        }
        let name = match ask.method {
            Method::Get => format!("GET {shown}"),
            Method::Head => format!("HEAD {shown}"),
        };
        let mut request = match ask.method {
            Method::Get => client.get(url),
            Method::Head => client.head(url),
        };
        if is_ours {
            request = request.headers(self.endpoint.headers.clone());
            if let Some(authorization) = authorization {
                request = request.header(AUTHORIZATION, authorization);
            }
        }
        request = request.header(ACCEPT, ask.accept).header(ACCEPT_ENCODING, "identity");
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        match tokio::time::timeout(self.timeout, request.send()).await {
            Err(_) => {
                let text = format!("{name}: no answer for {} s", self.timeout.as_secs_f32());
                Err(Failure::new(Kind::TimedOut, text))
            }
            Ok(answer) => answer.map_err(|error| Failure::transport(&name, error)),
        }
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
        let mut url = self.endpoint.base.clone();
        if self.is_plain.load(Ordering::Relaxed) && url.scheme() == "https" {
            // An address without a port keeps meaning the scheme's own. Only a non-special scheme is refused.
            let _ = url.set_scheme("http");
        }
        url
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
        let base = self.base();
        (base.scheme(), base.host_str(), base.port_or_known_default())
            == (url.scheme(), url.host_str(), url.port_or_known_default())
    }
}
