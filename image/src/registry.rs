//! Talks to registries (distribution-spec): one [`Session`] for each pull, over clients that are kept.
//!
//! A session knows the hosts that may have the image, in order. A request is repeated at a host while that may
//! help, then put to the next; a host that failed is asked last from then on.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST};
use crate::{Digest, Error, Reference, RequestCredentials};

mod authorizer;
mod blob;
mod body;
mod challenge;
mod credentials;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod hosts;
mod peer;
mod proxy;
mod redirect;
mod retry;
mod token;
mod transport;

pub(crate) use blob::Blob;
pub(crate) use hosts::Places;
pub(crate) use proxy::Proxies;
pub(crate) use transport::Transport;

use authorizer::Claim;
use failure::{Failure, Kind};
use hosts::{Endpoint, Trust};
use peer::{Ask, Method, Outcome, Peer};
use retry::Tries;

/// Longest manifest, index or configuration.
const MAX_DOCUMENT_BYTES: usize = 8 << 20;
/// Whether a tag still means what it did is worth no longer wait at one host: the pull itself finds out, too.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// What all sessions have in common.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) places: Places,
    pub(crate) auth_file: PathBuf,
    /// Mirrors may have the credentials of a request, over TLS.
    pub(crate) lends_to_mirrors: bool,
    /// A request without a byte for so long is given up.
    pub(crate) progress_timeout: Duration,
    pub(crate) transport: Transport,
}

/// The conversation about one reference with the hosts that may have it.
pub(crate) struct Session {
    reference: Reference,
    peers: Vec<Peer>,
    progress_timeout: Duration,
}

/// What a host is asked for. One that may give content need not be trusted to say what a tag means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Resolve,
    Content,
}

/// A manifest or index as it came.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: String,
    pub(crate) digest: Digest,
}

impl Session {
    /// Reads the configuration of registries and prepares to ask them; sends nothing.
    pub(crate) async fn open(
        settings: &Settings,
        reference: Reference,
        credentials: Option<RequestCredentials>,
    ) -> Result<Self, Error> {
        let (places, asked) = (settings.places.clone(), reference.clone());
        let found = tokio::task::spawn_blocking(move || hosts::endpoints(&places, &asked));
        let endpoints = found
            .await
            .map_err(|_| Error::TaskLost { what: "reading registry configuration".to_owned() })??;
        let is_for = credentials.as_ref().is_none_or(|given| is_for(given, &reference, &endpoints));
        let given = credentials.as_ref().map(|given| &given.credentials);
        let mut peers = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            let claim = match is_for {
                true => Claim::decide(endpoint.trust, given, settings.lends_to_mirrors),
                false => Claim::Withheld,
            };
            peers.push(Peer::new(settings, endpoint, &reference, claim));
        }
        let progress_timeout = settings.progress_timeout;
        Ok(Self { reference, peers, progress_timeout })
    }

    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The manifest or index that the reference names; checked against the reference's digest if it has one.
    pub(crate) async fn manifest(&self) -> Result<Fetched, Error> {
        let path = format!("manifests/{}", self.reference.manifest_key());
        self.document(&path, self.reference.digest(), None, self.purpose()).await
    }

    /// The digest that the reference has now, without the manifest itself; `None` if no host tells it soon.
    pub(crate) async fn head(&self) -> Option<Digest> {
        let path = format!("manifests/{}", self.reference.manifest_key());
        for index in self.route(self.purpose()) {
            let ask = Ask { method: Method::Head, path: &path, accept: &accept_manifests(), from: 0 };
            match tokio::time::timeout(HEAD_TIMEOUT, self.peers[index].once(&ask)).await {
                Ok(Ok(response)) => {
                    let digest = response.headers().get("docker-content-digest")?;
                    return digest.to_str().ok()?.parse().ok();
                }
                // Not every registry knows HEAD.
                Ok(Err(_)) => {}
                Err(_) => self.peers[index].note(Outcome::Failed),
            }
        }
        None
    }

    /// What asking for the reference itself is.
    fn purpose(&self) -> Purpose {
        match self.reference.digest() {
            Some(_) => Purpose::Content,
            None => Purpose::Resolve,
        }
    }

    /// The manifest that an index points to.
    pub(crate) async fn manifest_at(&self, descriptor: &Descriptor) -> Result<Fetched, Error> {
        let path = format!("manifests/{}", descriptor.digest);
        self.document(&path, Some(&descriptor.digest), size_of(descriptor), Purpose::Content).await
    }

    /// A small blob, the image configuration.
    pub(crate) async fn small_blob(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let path = format!("blobs/{}", descriptor.digest);
        let size = size_of(descriptor);
        let fetched = self.document(&path, Some(&descriptor.digest), size, Purpose::Content).await?;
        Ok(fetched.bytes)
    }

    async fn document(
        &self,
        path: &str,
        digest: Option<&Digest>,
        size: Option<u64>,
        purpose: Purpose,
    ) -> Result<Fetched, Error> {
        let accept = if path.starts_with("manifests/") { accept_manifests() } else { "*/*".to_owned() };
        let order = self.route(purpose);
        let mut tried = Vec::new();
        for (place, index) in order.iter().enumerate() {
            let is_last = place + 1 == order.len();
            let ask = Ask { method: Method::Get, path, accept: &accept, from: 0 };
            match self.document_from(&self.peers[*index], &ask, digest, size, is_last).await {
                Ok(fetched) => {
                    self.peers[*index].note(Outcome::Answered);
                    return Ok(fetched);
                }
                Err(failure) => {
                    self.peers[*index].note(Outcome::Failed);
                    tried.push(failure);
                }
            }
        }
        Err(self.error(tried))
    }

    async fn document_from(
        &self,
        peer: &Peer,
        ask: &Ask<'_>,
        digest: Option<&Digest>,
        size: Option<u64>,
        is_last: bool,
    ) -> Result<Fetched, Failure> {
        let mut tries = Tries::new(is_last, self.progress_timeout);
        loop {
            match self.document_once(peer, ask, digest, size).await {
                Ok(fetched) => return Ok(fetched),
                Err(failure) => tries.next(failure).await?,
            }
        }
    }

    async fn document_once(
        &self,
        peer: &Peer,
        ask: &Ask<'_>,
        digest: Option<&Digest>,
        size: Option<u64>,
    ) -> Result<Fetched, Failure> {
        let response = peer.once(ask).await?;
        let name = peer.name(ask);
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let content_type = header("content-type").unwrap_or_default().to_owned();
        let promised: Option<Digest> = header("docker-content-digest").and_then(|text| text.parse().ok());
        let bytes = body::read(&name, response, MAX_DOCUMENT_BYTES, self.progress_timeout).await?;
        // Without a digest of our own, the registry's word is held against the content.
        let expected = digest.or(promised.as_ref());
        let actual = match expected {
            Some(expected) => Digest::of_with(expected.algorithm(), &bytes),
            None => Digest::of(&bytes),
        };
        if let Some(size) = size.filter(|size| *size != bytes.len() as u64) {
            let actual = bytes.len() as u64;
            return Err(
                Failure::content(Error::SizeMismatch { what: name, expected: size, actual }).transient()
            );
        }
        if let Some(expected) = expected.filter(|expected| **expected != actual) {
            let (expected, actual) = (expected.to_string(), actual.to_string());
            return Err(Failure::content(Error::DigestMismatch { what: name, expected, actual }).transient());
        }
        Ok(Fetched { bytes, content_type, digest: actual })
    }

    /// The peers to ask, in the order of the configuration, but last those that failed in this session.
    fn route(&self, purpose: Purpose) -> Vec<usize> {
        let may = |index: &usize| {
            let endpoint = &self.peers[*index].endpoint;
            match purpose {
                Purpose::Resolve => endpoint.resolves,
                Purpose::Content => endpoint.pulls,
            }
        };
        let mut order: Vec<usize> = (0..self.peers.len()).filter(may).collect();
        order.sort_by_key(|index| self.peers[*index].has_failed());
        order
    }

    /// The error after every host failed; the last one, usually the origin, decides its kind.
    fn error(&self, mut tried: Vec<Failure>) -> Error {
        let what = format!("pulling {}", self.reference);
        match tried.pop() {
            Some(last) => last.into_error(&what, &tried),
            None => {
                let text = "no configured host may be asked for it (capabilities)".to_owned();
                Failure::new(Kind::Unavailable, text).into_error(&what, &[])
            }
        }
    }
}

/// Whether what came with the pull is for the registry of `reference`: as containerd does, it is not sent if it names
/// another server.
fn is_for(credentials: &RequestCredentials, reference: &Reference, endpoints: &[Endpoint]) -> bool {
    let Some(server) = credentials.server.as_deref() else { return true };
    let registry = reference.registry();
    let is_origin = |endpoint: &Endpoint| endpoint.trust == Trust::Origin && endpoint.is_at(server);
    let is_for = credentials::same_host(server, registry) || endpoints.iter().any(is_origin);
    if !is_for {
        tracing::warn!(%reference, %server, "the credentials of the pull are for another registry and are not sent");
    }
    is_for
}

/// Some registries' indexes name sizes of zero for what they generate.
fn size_of(descriptor: &Descriptor) -> Option<u64> {
    Some(descriptor.size).filter(|size| *size > 0)
}

fn accept_manifests() -> String {
    [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST, "*/*;q=0.1"].join(", ")
}

#[cfg(test)]
pub(crate) mod tests;
