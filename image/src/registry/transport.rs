//! HTTP clients, one for each way of doing TLS, kept from pull to pull.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, Identity, Proxy, RequestBuilder, Response, Url};

use super::failure::{Failure, Kind};
use super::hosts::{Endpoint, Tls};
use super::proxy::Proxies;
use crate::{Digest, Error};

const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// For which a connection without a request is kept for the next one, as containerd keeps it. Twice as long at most.
const IDLE: Duration = Duration::from_secs(30);
/// More settings than this are not alive at the same time; certificates that changed leave clients behind.
const MAX_CLIENTS: usize = 64;

/// Keeps clients, and so their connections and parsed certificates. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Transport {
    clients: Arc<Mutex<HashMap<Key, reqwest::Client>>>,
    proxies: Arc<Proxies>,
}

/// Sends requests, each through the proxy that its own address wants.
pub(crate) struct Client {
    inner: reqwest::Client,
    proxies: Arc<Proxies>,
}

impl Client {
    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.inner.get(url)
    }

    pub(crate) fn head(&self, url: Url) -> RequestBuilder {
        self.inner.head(url)
    }

    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        self.inner.post(url)
    }

    /// Waits at most `patience` for the head of the answer. `name` names the request in errors.
    pub(crate) async fn send(
        &self,
        name: &str,
        request: RequestBuilder,
        patience: Duration,
    ) -> Result<Response, Failure> {
        let request = request.build().map_err(|error| Failure::transport(name, error))?;
        let name = match self.proxies.told(request.url()) {
            Some(proxy) => format!("{name} ({proxy})"),
            None => name.to_owned(),
        };
        match tokio::time::timeout(patience, self.inner.execute(request)).await {
            Err(_) => {
                let text = format!("{name}: no answer for {} s", patience.as_secs_f32());
                Err(Failure::new(Kind::TimedOut, text))
            }
            Ok(answer) => answer.map_err(|error| Failure::transport(&name, error)),
        }
    }
}

/// Everything that two hosts must have in common to share a client. Files by content: they are replaced in
/// place when certificates are renewed.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    files: Digest,
    skip_verify: bool,
    dial_timeout: Duration,
    may_be_plain: bool,
}

/// Contents of the files that [`Tls`] names.
struct Material {
    ca: Vec<u8>,
    /// Certificate and key, one after the other.
    identity: Vec<u8>,
}

impl Transport {
    pub(crate) fn new(proxies: Proxies) -> Self {
        Self { proxies: Arc::new(proxies), ..Self::default() }
    }

    /// A client for `endpoint`, which follows no redirect by itself.
    ///
    /// Fails if a certificate cannot be read or used.
    pub(crate) async fn client(&self, endpoint: &Endpoint) -> Result<Client, Error> {
        let (transport, endpoint) = (self.clone(), endpoint.clone());
        // Certificates are files, and the system's take a while to parse.
        let made = tokio::task::spawn_blocking(move || {
            let (inner, proxies) = (transport.get_or_make(&endpoint)?, transport.proxies);
            Ok::<_, Error>(Client { inner, proxies })
        });
        made.await.map_err(|_| Error::TaskLost { what: "setting up TLS".to_owned() })?
    }

    fn get_or_make(&self, endpoint: &Endpoint) -> Result<reqwest::Client, Error> {
        let tls = &endpoint.tls;
        let material = Material::read(tls)?;
        let key = Key {
            files: material.digest(),
            skip_verify: tls.skip_verify,
            dial_timeout: endpoint.dial_timeout.unwrap_or(DEFAULT_DIAL_TIMEOUT),
            may_be_plain: endpoint.base.scheme() == "http" || endpoint.http_fallback,
        };
        if let Some(client) = self.lock().get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(tls, &material, &key)?;
        let mut clients = self.lock();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, tls: &Tls, material: &Material, key: &Key) -> Result<reqwest::Client, Error> {
        let unavailable = |error: reqwest::Error| Error::RegistryUnavailable {
            what: "setting up TLS".to_owned(),
            reason: std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
        };
        match self.builder(tls, material, key)?.build() {
            // A minimal host has no CA certificates: one that is asked by plain HTTP needs none, and TLS, should it be
            // redirected to that, trusts nobody.
            Err(_) if key.may_be_plain && tls.ca.is_empty() => {
                self.builder(tls, material, key)?.tls_certs_only([]).build().map_err(unavailable)
            }
            made => made.map_err(unavailable),
        }
    }

    fn builder(&self, tls: &Tls, material: &Material, key: &Key) -> Result<ClientBuilder, Error> {
        // The process has one provider; a second installation is refused, and harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bad = |path: &Path, error: reqwest::Error| Error::BadConfig {
            path: path.to_owned(),
            reason: format!("unusable certificate: {error}"),
        };
        let proxies = self.proxies.clone();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("linkspan/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(key.dial_timeout)
            .tcp_keepalive(Duration::from_secs(30))
            .pool_idle_timeout(IDLE)
            .http2_adaptive_window(true)
            // Asked for each connection, also of a redirect's target and a token server.
            .proxy(Proxy::custom(move |url| proxies.of(url).cloned()))
            .tls_danger_accept_invalid_certs(tls.skip_verify);
        if let Some(path) = tls.ca.first() {
            let roots = Certificate::from_pem_bundle(&material.ca).map_err(|error| bad(path, error))?;
            builder = builder.tls_certs_merge(roots);
        }
        if let Some((path, _)) = &tls.client {
            let identity = Identity::from_pem(&material.identity).map_err(|error| bad(path, error))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, reqwest::Client>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Material {
    fn read(tls: &Tls) -> Result<Self, Error> {
        let (mut ca, mut identity) = (Vec::new(), Vec::new());
        for path in &tls.ca {
            append(&mut ca, path)?;
        }
        if let Some((certificate, key)) = &tls.client {
            append(&mut identity, certificate)?;
            if let Some(key) = key {
                append(&mut identity, key)?;
            }
        }
        Ok(Self { ca, identity })
    }

    fn digest(&self) -> Digest {
        let lengths = format!("{} {} ", self.ca.len(), self.identity.len());
        Digest::of(&[lengths.as_bytes(), &self.ca, &self.identity].concat())
    }
}

fn append(to: &mut Vec<u8>, path: &Path) -> Result<(), Error> {
    to.extend(std::fs::read(path).map_err(Error::io("reading", path))?);
    to.push(b'\n');
    Ok(())
}
