//! Image references by Docker's grammar (`distribution/reference`, the Go package that every registry tool
//! uses): `[registry/]repository[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, Error};

/// Where references without a registry go.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";
const LEGACY_REGISTRY: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const MAX_REPOSITORY_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;
/// Longest text that is looked at: registry, repository, tag and digest together stay far below.
const MAX_REFERENCE_BYTES: usize = 4096;

/// A normalised reference. `Display` is the canonical form, `docker.io/library/busybox:1.36`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and optional port, `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Registry and repository: `docker.io/library/busybox`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// As a user of Docker writes it: `busybox:1.36`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").map(|rest| match rest.strip_prefix(OFFICIAL_PREFIX) {
            // `library/a/b` is no official image.
            Some(short) if !short.contains('/') => short,
            _ => rest,
        });
        // What would be read as another registry's, or as an ID, keeps its own in front.
        let same = short.filter(|short| parse(short).is_ok_and(|read| read == *self));
        same.map(str::to_owned).unwrap_or(full)
    }

    /// Adds the tag `latest` if there is neither tag nor digest.
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository by digest, without a tag.
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same repository and tag without the digest.
    pub fn without_digest(&self) -> Self {
        Self { digest: None, ..self.clone() }
    }

    /// What `/v2/<repository>/manifests/` is asked for: the digest wins over the tag.
    pub fn manifest_key(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl FromStr for Reference {
    type Err = Error;

    /// Normalises as Docker does: `busybox` is `docker.io/library/busybox`, without adding a tag.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::BadReference {
            reference: text.chars().take(300).collect(),
            reason: reason.to_owned(),
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > MAX_REFERENCE_BYTES {
        return Err("is too long");
    }
    if text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("64 hex digits are an image ID, not a name");
    }
    let (registry, rest) = split_registry(text);
    check_registry(registry)?;
    let (named, digest) = match rest.split_once('@') {
        None => (rest, None),
        Some((named, digest)) => (named, Some(digest.parse().map_err(|_| "has a malformed digest")?)),
    };
    let (path, tag) = match named.split_once(':') {
        None => (named, None),
        Some((path, tag)) => (path, Some(check_tag(tag)?.to_owned())),
    };
    let official = registry == DEFAULT_REGISTRY && !path.contains('/');
    let repository = if official { format!("{OFFICIAL_PREFIX}{path}") } else { path.to_owned() };
    check_repository(path, &repository)?;
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// The part before the first slash is a registry only if it cannot be a repository component.
fn split_registry(text: &str) -> (&str, &str) {
    match text.split_once('/') {
        Some((LEGACY_REGISTRY, rest)) => (DEFAULT_REGISTRY, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, text),
    }
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = match registry.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("has a malformed registry")?;
            if address.is_empty() || !address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return Err("has a malformed registry");
            }
            (None, after)
        }
        None => match registry.find(':') {
            Some(colon) => (Some(&registry[..colon]), &registry[colon..]),
            None => (Some(registry), ""),
        },
    };
    if host.is_some_and(|host| !host.split('.').all(is_host_component)) {
        return Err("has a malformed registry");
    }
    match port.strip_prefix(':') {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => Err("has a malformed registry port"),
    }
}

fn is_host_component(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('-')
        && !part.ends_with('-')
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn check_repository(path: &str, repository: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("has no repository");
    }
    if repository.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("repository must be lower-case");
    }
    if repository.len() > MAX_REPOSITORY_BYTES {
        return Err("repository is longer than 255 bytes");
    }
    if !repository.split('/').all(is_path_component) {
        return Err("repository is malformed");
    }
    Ok(())
}

/// Runs of letters and digits, separated by `.`, `_`, `__` or any number of `-`.
fn is_path_component(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends_well =
        part.bytes().next().is_some_and(alphanumeric) && part.bytes().last().is_some_and(alphanumeric);
    ends_well
        && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn check_tag(tag: &str) -> Result<&str, &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let first_fits = tag.bytes().next().is_some_and(word);
    if !first_fits || tag.len() > MAX_TAG_BYTES || !tag.bytes().all(|b| word(b) || b == b'.' || b == b'-') {
        return Err("has a malformed tag");
    }
    Ok(tag)
}

#[cfg(test)]
mod tests;
