//! `certs.d/<host>/hosts.toml`, containerd's format (its docs/hosts.md).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use super::{DOCKER_HUB, Description, Endpoint, Places, Tls, Trust, go_duration, is_at};
use crate::error::unquoted;
use crate::reference::DEFAULT_REGISTRY;
use crate::{Error, Reference};

/// Hosts in the order of the file; the spans of the names tell it.
#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Host>,
}

/// The settings of one host. Those of `server` stand at the top level of the file.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Host {
    capabilities: Vec<String>,
    ca: OneOrMany,
    client: Option<Client>,
    skip_verify: bool,
    header: BTreeMap<String, OneOrMany>,
    override_path: bool,
    dial_timeout: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Many(Vec<OneOrMany>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

/// The endpoints that `directory/hosts.toml` names for `reference`; `None` if there is no such file. `server_trust` is
/// that of a `server` with another name than the reference's registry.
pub(super) fn load(
    directory: &Path,
    places: &Places,
    reference: &Reference,
    server_trust: Trust,
) -> Result<Option<Vec<Endpoint>>, Error> {
    let path = directory.join("hosts.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("reading", &path)(error)),
    };
    parse(&text, directory, places, reference, server_trust).map(Some)
}

/// The same for the text of a file that is in `directory`.
pub(super) fn parse(
    text: &str,
    directory: &Path,
    places: &Places,
    reference: &Reference,
    server_trust: Trust,
) -> Result<Vec<Endpoint>, Error> {
    let context = Context { path: &directory.join("hosts.toml"), directory, reference };
    let file: File = toml::from_str(text).map_err(|error| context.malformed(text, &error))?;
    let top: Host = toml::from_str(text).map_err(|error| context.malformed(text, &error))?;

    let mut hosts: Vec<_> = file.host.iter().collect();
    hosts.sort_by_key(|(name, _)| name.span().start);
    let mut endpoints = Vec::new();
    for (name, host) in hosts {
        endpoints.push(context.endpoint(name.get_ref(), host, Trust::Mirror)?);
    }
    endpoints.push(match &file.server {
        Some(server) => context.endpoint(server, &top, server_trust)?,
        // No server: the registry itself, with what the top level says of it.
        None if top.is_empty() => Description::origin(places, reference)?.endpoint(),
        None => context.endpoint(reference.registry(), &top, Trust::Origin)?,
    });
    Ok(endpoints)
}

impl Host {
    fn is_empty(&self) -> bool {
        let files = self.ca.as_slice().is_empty() && self.client.is_none();
        let flags = !self.skip_verify && !self.override_path && self.dial_timeout.is_none();
        files && flags && self.capabilities.is_empty() && self.header.is_empty()
    }

    fn can(&self, capability: &str) -> bool {
        self.capabilities.is_empty() || self.capabilities.iter().any(|name| name == capability)
    }
}

struct Context<'a> {
    path: &'a Path,
    directory: &'a Path,
    reference: &'a Reference,
}

impl Context<'_> {
    fn bad(&self, reason: String) -> Error {
        Error::BadConfig { path: self.path.to_owned(), reason }
    }

    /// Without the lines themselves, for they may be headers with passwords.
    fn malformed(&self, text: &str, error: &toml::de::Error) -> Error {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        self.bad(format!("line {line}: {}", unquoted(error.message())))
    }

    fn endpoint(&self, address: &str, host: &Host, trust: Trust) -> Result<Endpoint, Error> {
        for capability in &host.capabilities {
            if !matches!(capability.as_str(), "pull" | "resolve" | "push" | "referrers") {
                return Err(self.bad(format!("{}: unknown capability {capability:?}", named(address))));
            }
        }
        let explicit_scheme = address.starts_with("http://") || address.starts_with("https://");
        let base = self.base(address, explicit_scheme, host.override_path)?;
        let tls = self.tls(host)?;
        let dial_timeout = match &host.dial_timeout {
            None => None,
            Some(text) => Some(go_duration::parse(text).ok_or_else(|| {
                self.bad(format!("{}: dial_timeout {text:?} is no duration", named(address)))
            })?),
        };
        let own = self.reference.registry();
        let is_own = is_at(&base, own);
        let description = Description {
            is_scheme_given: explicit_scheme,
            namespace: (!is_own).then(|| own.to_owned()),
            trust: if is_own { Trust::Origin } else { trust },
            resolves: host.can("resolve"),
            pulls: host.can("pull"),
            headers: self.headers(host)?,
            dial_timeout,
            ..Description::new(base, self.reference.repository(), tls)
        };
        Ok(description.endpoint())
    }

    /// `/v2` is added unless the address has it or `override_path` says that the path is whole.
    fn base(&self, address: &str, explicit_scheme: bool, override_path: bool) -> Result<Url, Error> {
        let full = if explicit_scheme { address.to_owned() } else { format!("https://{address}") };
        let mut url = Url::parse(&full)
            .map_err(|error| self.bad(format!("{:?} is no address: {error}", named(address))))?;
        if url.host_str() == Some(DEFAULT_REGISTRY) && url.path() == "/" {
            // A literal docker.io answers with its web page.
            url.set_host(Some(DOCKER_HUB))
                .map_err(|error| self.bad(format!("{:?}: {error}", named(address))))?;
        }
        let mut path = url.path().trim_end_matches('/').to_owned();
        if !override_path && !path.ends_with("/v2") {
            path.push_str("/v2");
        }
        url.set_path(&path);
        url.set_query(None);
        Ok(url)
    }

    fn tls(&self, host: &Host) -> Result<Tls, Error> {
        let ca = host.ca.as_slice().iter().map(|path| self.directory.join(path)).collect();
        let pair = match &host.client {
            None => None,
            Some(Client::One(file)) => Some(vec![file.clone()]),
            Some(Client::Many(items)) => items.first().map(|item| item.as_slice().to_vec()),
        };
        let join = |path: &String| self.directory.join(path);
        let client: Option<(PathBuf, Option<PathBuf>)> = match pair.as_deref() {
            None => None,
            Some([cert]) => Some((join(cert), None)),
            Some([cert, key]) if key.is_empty() => Some((join(cert), None)),
            Some([cert, key]) => Some((join(cert), Some(join(key)))),
            Some(_) => {
                return Err(self.bad("client wants a file, or pairs of certificate and key".to_owned()));
            }
        };
        Ok(Tls { ca, client, skip_verify: host.skip_verify })
    }

    fn headers(&self, host: &Host) -> Result<HeaderMap, Error> {
        let mut headers = HeaderMap::new();
        for (name, values) in &host.header {
            let key: HeaderName =
                name.parse().map_err(|_| self.bad(format!("{name:?} is no header name")))?;
            for value in values.as_slice() {
                let mut value = HeaderValue::from_str(value)
                    .map_err(|_| self.bad(format!("header {name} has a malformed value")))?;
                value.set_sensitive(true);
                headers.append(key.clone(), value);
            }
        }
        Ok(headers)
    }
}

/// An address without the user and password that may stand in it.
fn named(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, host)| host)
}
