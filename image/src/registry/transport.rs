//! HTTP clients, one for each way of doing TLS, kept from pull to pull.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Identity};

use super::hosts::{Endpoint, Tls, is_loopback};
use crate::{Digest, Error};

const DEFAULT_DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// More settings than this are not alive at the same time; certificates that changed leave clients behind.
const MAX_CLIENTS: usize = 64;

/// Keeps clients, and so their connections and parsed certificates. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Transport {
    clients: Arc<Mutex<HashMap<Key, Client>>>,
}

/// Everything that two hosts must have in common to share a client. Files by content: they are replaced in
/// place when certificates are renewed.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    files: Digest,
    skip_verify: bool,
    dial_timeout: Duration,
    is_direct: bool,
    may_be_plain: bool,
}

/// Contents of the files that [`Tls`] names.
struct Material {
    ca: Vec<u8>,
    /// Certificate and key, one after the other.
    identity: Vec<u8>,
}

impl Transport {
    /// A client for `endpoint`, which follows no redirect by itself. The environment's proxies are used, but
    /// not towards a loopback address, whether or not `NO_PROXY` names it (as in Go's tools).
    ///
    /// Fails if a certificate cannot be read or used.
    pub(crate) async fn client(&self, endpoint: &Endpoint) -> Result<Client, Error> {
        let (transport, endpoint) = (self.clone(), endpoint.clone());
        // Certificates are files, and the system's take a while to parse.
        let made = tokio::task::spawn_blocking(move || transport.get_or_make(&endpoint));
        made.await.map_err(|_| Error::TaskLost { what: "setting up TLS".to_owned() })?
    }

    fn get_or_make(&self, endpoint: &Endpoint) -> Result<Client, Error> {
        let tls = &endpoint.tls;
        let material = Material::read(tls)?;
        let key = Key {
            files: material.digest(),
            skip_verify: tls.skip_verify,
            dial_timeout: endpoint.dial_timeout.unwrap_or(DEFAULT_DIAL_TIMEOUT),
            is_direct: endpoint.base.host_str().is_some_and(is_loopback),
            may_be_plain: endpoint.base.scheme() == "http" || endpoint.http_fallback,
        };
        if let Some(client) = self.lock().get(&key) {
            return Ok(client.clone());
        }
        let client = build(tls, &material, &key)?;
        let mut clients = self.lock();
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Client>> {
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

fn build(tls: &Tls, material: &Material, key: &Key) -> Result<Client, Error> {
    let unavailable = |error: reqwest::Error| Error::RegistryUnavailable {
        what: "setting up TLS".to_owned(),
        reason: std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string),
    };
    match builder(tls, material, key)?.build() {
        // A minimal host has no CA certificates: one that is asked by plain HTTP needs none, and TLS, should it be
        // redirected to that, trusts nobody.
        Err(_) if key.may_be_plain && tls.ca.is_empty() => {
            builder(tls, material, key)?.tls_certs_only([]).build().map_err(unavailable)
        }
        made => made.map_err(unavailable),
    }
}

fn builder(tls: &Tls, material: &Material, key: &Key) -> Result<ClientBuilder, Error> {
    // The process has one provider; a second installation is refused, and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bad = |path: &Path, error: reqwest::Error| Error::BadConfig {
        path: path.to_owned(),
        reason: format!("unusable certificate: {error}"),
    };
    let mut builder = Client::builder()
        .user_agent(concat!("linkspan/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(key.dial_timeout)
        .tcp_keepalive(Duration::from_secs(30))
        .http2_adaptive_window(true)
        .tls_danger_accept_invalid_certs(tls.skip_verify);
    if key.is_direct {
        builder = builder.no_proxy();
    }
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
