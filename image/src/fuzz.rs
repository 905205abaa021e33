//! What registries, authors of images and writers of configuration may send: the bodies of the fuzz targets in `fuzz/`. As property
//! tests they run with all others.

use std::collections::HashSet;

use http::{HeaderMap, HeaderValue, header};

use crate::manifest::{ConfigFile, DOCKER_LIST, Descriptor, Document, Index, OCI_MANIFEST, Platform};
use crate::registry::hosts::RegistriesConf;
use crate::{Digest, ImageConfig, Reference};

pub use crate::layer::fuzz::{compression, tar, unpack};
pub use crate::load::fuzz::archive;
pub use crate::registry::fuzz::token;
pub use crate::registry::hosts::fuzz::{hosts_toml, registries_conf};

/// A manifest or an index, whatever its `Content-Type` says.
///
/// # Panics
/// On a fault.
pub fn document(data: &[u8]) {
    for content_type in ["", OCI_MANIFEST, DOCKER_LIST] {
        match Document::parse(data, content_type, "what") {
            Err(error) => assert!(error.to_string().contains("what"), "{error} does not say of what"),
            Ok(Document::Index(index)) => chosen(&index),
            Ok(Document::Manifest(manifest)) => {
                assert!(manifest.layers.len() <= 500, "{} layers", manifest.layers.len());
                manifest.layers.iter().chain([&manifest.config]).for_each(survives);
                let _ = manifest.artifact();
            }
        }
    }
}

fn chosen(index: &Index) {
    index.manifests.iter().for_each(survives);
    for (architecture, variant) in [("amd64", "v3"), ("arm64", ""), ("arm", "v7"), ("arm64", "v9.2")] {
        let (os, architecture, variant) = ("linux".to_owned(), architecture.to_owned(), variant.to_owned());
        let host = Platform { os, architecture, variant };
        if let Some(entry) = index.choose(&host) {
            assert!(index.manifests.contains(entry));
            let fits = entry.platform.as_ref().is_none_or(|p| p.is_blank() || host.rank(p).is_some());
            assert!(fits, "{:?} was chosen for {host}", entry.platform);
        }
    }
}

/// What is written of a descriptor says the same when it is read.
fn survives(descriptor: &Descriptor) {
    let text = serde_json::to_vec(descriptor).expect("a descriptor is JSON");
    let again: Descriptor = serde_json::from_slice(&text).expect("a descriptor is read as it was written");
    assert_eq!(again, *descriptor);
}

/// An image's configuration.
///
/// # Panics
/// On a fault.
pub fn config(data: &[u8]) {
    match ConfigFile::parse(data, "what") {
        Err(error) => assert!(error.to_string().contains("what"), "{error} does not say of what"),
        Ok(config) => {
            let chain_ids = config.chain_ids();
            assert_eq!(chain_ids.len(), config.diff_ids().len());
            // A layer's place is named by all that is below it.
            assert_eq!(chain_ids.iter().collect::<HashSet<_>>().len(), chain_ids.len());
            let image = ImageConfig::from(&config);
            assert!(image.stop_signal.is_none_or(|signal| !signal.is_empty()));
        }
    }
}

/// `WWW-Authenticate`, several lines of it.
///
/// # Panics
/// On a fault.
pub fn challenge(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }
    crate::registry::fuzz::challenged(&headers);
}

/// A name that a user wrote, or an annotation of an archive.
///
/// # Panics
/// On a fault.
pub fn reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let conf = RegistriesConf::default();
    if let Ok(reference) = text.parse::<Reference>() {
        for form in [reference.to_string(), reference.familiar()] {
            assert_eq!(
                form.parse::<Reference>().ok().as_ref(),
                Some(&reference),
                "{form:?}, as {text:?} is shown"
            );
        }
        let name = [reference.registry(), reference.repository()].concat();
        assert!(!name.contains(char::is_whitespace) && !name.contains(".."), "{name:?}");
        let all = crate::registry::hosts::candidates(&conf, &text).expect("a reference stands for itself");
        assert_eq!(all, [reference.or_latest()]);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
}

#[cfg(test)]
mod tests;
