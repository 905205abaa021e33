//! TLS of the streaming server: what the files say, read anew when they change.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use linkspan_config::{Streaming, TlsVersion};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use tokio::sync::OwnedMutexGuard;

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("looking at {}: {source}", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("{option}: reading {}: {source}", path.display())]
    Pem { option: &'static str, path: PathBuf, source: pem::Error },
    #[error("{option}: no certificate in {}", path.display())]
    Empty { option: &'static str, path: PathBuf },
    #[error("streaming.tls_client_ca_file: {}: {source}", path.display())]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("streaming.tls_client_ca_file: {}: {source}", path.display())]
    Verifier { path: PathBuf, source: VerifierBuilderError },
    /// They do not belong together, or one is of a kind that is not supported.
    #[error("certificate {} with key {}: {source}", cert.display(), key.display())]
    Pair { cert: PathBuf, key: PathBuf, source: rustls::Error },
}

/// How long the files may take; one on a network file system that is gone takes for ever.
const LOOK: Duration = Duration::from_secs(2);

/// Certificate, key and authorities as they are now.
#[derive(Debug)]
pub(crate) struct Tls {
    files: Arc<Files>,
    /// The last that could be used.
    config: Arc<Mutex<Arc<ServerConfig>>>,
    /// The files as they were last read, good or not; `None`: one could not even be looked at. Locked while they are looked at.
    seen: Arc<tokio::sync::Mutex<Option<Stamp>>>,
}

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    min_version: TlsVersion,
}

impl Tls {
    /// `None`: the configuration wants none.
    pub(super) fn open(config: &Streaming) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&config.tls_cert_file, &config.tls_key_file) else { return Ok(None) };
        let files = Files {
            cert: cert.clone(),
            key: key.clone(),
            client_ca: config.tls_client_ca_file.clone(),
            min_version: config.tls_min_version,
        };
        // Looked at before they are read: a change in between is seen at the next look.
        let seen = Some(files.stamp()?);
        let config = Arc::new(Mutex::new(Arc::new(files.load()?)));
        Ok(Some(Self { files: Arc::new(files), config, seen: Arc::new(tokio::sync::Mutex::new(seen)) }))
    }

    /// For the next connection. Files that have changed are read; if they are no good, or do not answer, that is said,
    /// and what was good before stays.
    pub(super) async fn current(&self) -> Arc<ServerConfig> {
        let look = async {
            let seen = self.seen.clone().lock_owned().await;
            let (files, config) = (self.files.clone(), self.config.clone());
            tokio::task::spawn_blocking(move || files.look(seen, &config)).await
        };
        match tokio::time::timeout(LOOK, look).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "looking at the streaming certificate broke"),
            Err(_) => tracing::warn!(
                tls_cert_file = %self.files.cert.display(),
                after = ?LOOK,
                "timeout of the streaming certificate's files, keeping the old one"
            ),
        }
        lock(&self.config).clone()
    }
}

fn lock(config: &Mutex<Arc<ServerConfig>>) -> MutexGuard<'_, Arc<ServerConfig>> {
    config.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Files {
    /// Blocking.
    fn look(&self, mut seen: OwnedMutexGuard<Option<Stamp>>, config: &Mutex<Arc<ServerConfig>>) {
        let now = self.stamp();
        if let (Ok(stamp), Some(before)) = (&now, seen.as_ref())
            && stamp == before
        {
            return;
        }
        let is_told = now.is_err() && seen.is_none();
        let (stamp, loaded) = match now {
            Ok(stamp) => (Some(stamp), self.load()),
            Err(error) => (None, Err(error)),
        };
        *seen = stamp;
        match loaded {
            Ok(new) => {
                tracing::info!(tls_cert_file = %self.cert.display(), "streaming certificate read anew");
                *lock(config) = Arc::new(new);
            }
            Err(_) if is_told => {}
            Err(error) => tracing::warn!(%error, "new streaming certificate not usable, keeping the old one"),
        }
    }

    fn stamp(&self) -> Result<Stamp, TlsError> {
        let mut stamp = Vec::new();
        for path in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten() {
            let found = fs::metadata(path).map_err(|source| TlsError::Look { path: path.clone(), source })?;
            stamp.push(FileStamp {
                device: found.dev(),
                inode: found.ino(),
                size_bytes: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
            });
        }
        Ok(Stamp(stamp))
    }

    fn load(&self) -> Result<ServerConfig, TlsError> {
        const ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];
        const FROM_12: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
        let versions = match self.min_version {
            TlsVersion::Tls12 => FROM_12,
            TlsVersion::Tls13 => ONLY_13,
        };
        let pair = |source| TlsError::Pair { cert: self.cert.clone(), key: self.key.clone(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(pair)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authorities(path)?, provider)
                    .build()
                    .map_err(|source| TlsError::Verifier { path: path.clone(), source })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let chain = certificates("streaming.tls_cert_file", &self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::Pem {
            option: "streaming.tls_key_file",
            path: self.key.clone(),
            source,
        })?;
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// What tells that a file is not the one that was read.
#[derive(Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    size_bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp(Vec<FileStamp>);

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |source| TlsError::Pem { option, path: path.to_owned(), source };
    let found = CertificateDer::pem_file_iter(path).map_err(bad)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(bad)?;
    if found.is_empty() {
        return Err(TlsError::Empty { option, path: path.to_owned() });
    }
    Ok(found)
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates("streaming.tls_client_ca_file", path)? {
        store.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(Arc::new(store))
}

#[cfg(test)]
mod tests;
