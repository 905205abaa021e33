//! Certificates in Docker's layout: `certs.d/<host[:port]>/{*.crt, *.cert, *.key}`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Places, Tls, directory_names};
use crate::Error;

/// The first directory of that host that is there decides; none: only the system's roots.
pub(super) fn find(places: &Places, host: &str) -> Result<Tls, Error> {
    for dir in places.all_certs_dirs() {
        for name in directory_names(host) {
            if let Some(tls) = read(&dir.join(name))? {
                return Ok(tls);
            }
        }
    }
    Ok(Tls::default())
}

fn read(directory: &Path) -> Result<Option<Tls>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("reading", directory)(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(Error::io("reading", directory))?.path());
    }
    paths.sort();
    let with = |extension: &str| -> Vec<PathBuf> {
        paths.iter().filter(|path| path.extension().is_some_and(|e| e == extension)).cloned().collect()
    };
    let client = match with("cert").into_iter().next() {
        None => None,
        Some(cert) => {
            let key = cert.with_extension("key");
            if !paths.contains(&key) {
                return Err(Error::BadConfig {
                    path: key,
                    reason: format!("missing key of {}", cert.display()),
                });
            }
            Some((cert, Some(key)))
        }
    };
    Ok(Some(Tls { ca: with("crt"), client, skip_verify: false }))
}
