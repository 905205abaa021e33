//! Which hosts a reference is asked of, in order: mirrors first, the registry itself last.
//!
//! Read at each pull, so that a change needs no restart. For a reference's registry the first of these decides:
//! 1. `blocked` in `registries.conf` refuses, whatever else is said;
//! 2. `certs.d/<host>/hosts.toml`;
//! 3. the `[[registry]]` with the longest matching prefix in `registries.conf` and its drop-ins;
//! 4. `certs.d/_default/hosts.toml`;
//! 5. the registry itself, with certificates in Docker's layout (`certs.d/<host>/*.crt`, `*.cert`, `*.key`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderMap;
use reqwest::Url;

use crate::reference::DEFAULT_REGISTRY;
use crate::{Error, Reference};

mod certs;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod go_duration;
mod hosts_toml;
mod registries_conf;
mod short_names;

pub(crate) use registries_conf::RegistriesConf;

/// Where docker.io's API is.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Whose an endpoint is, and so what secrets it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The registry that the image's name says, or where an administrator says that it is: the credentials of a
    /// request are for it.
    Origin,
    /// Anybody else: has content, but no claim to the origin's credentials.
    Mirror,
}

/// One host that may have the image. Made of a [`Description`] and not changed afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// Scheme, host, port and the path that `/<repository>/manifests/…` is put after; no slash at its end.
    pub(crate) base: Url,
    /// The repository's name at this host.
    pub(crate) repository: String,
    /// Sent as `?ns=`: tells a mirror of many registries which one is meant.
    pub(crate) namespace: Option<String>,
    pub(crate) trust: Trust,
    /// May be asked which digest a tag has.
    pub(crate) resolves: bool,
    /// May be asked for content by digest.
    pub(crate) pulls: bool,
    /// HTTPS is tried first, then plain HTTP: loopback and insecure registries.
    pub(crate) http_fallback: bool,
    pub(crate) tls: Tls,
    pub(crate) headers: HeaderMap,
    pub(crate) dial_timeout: Option<Duration>,
}

/// How a host proves itself to us and we to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tls {
    /// PEM bundles trusted beside the system's.
    pub(crate) ca: Vec<PathBuf>,
    /// Certificate and key in PEM; the key may be in the certificate's file.
    pub(crate) client: Option<(PathBuf, Option<PathBuf>)>,
    pub(crate) skip_verify: bool,
}

/// Where the configuration of registries is.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// Holds `registries.conf`, `registries.conf.d` and `certs.d`.
    pub(crate) containers_dir: PathBuf,
    /// `certs.d` directories after that of `containers_dir`.
    pub(crate) certs_dirs: Vec<PathBuf>,
}

impl Places {
    fn all_certs_dirs(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.containers_dir.join("certs.d");
        std::iter::once(own).chain(self.certs_dirs.clone())
    }
}

/// The hosts for `reference`, best first; at least one. Reads files: call on a blocking thread.
///
/// Fails on configuration that cannot be read, and on a blocked registry.
pub(crate) fn endpoints(places: &Places, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
    let conf = RegistriesConf::load(&places.containers_dir)?;
    let registry = conf.find(reference);
    if registry.is_some_and(|registry| registry.blocked) {
        return Err(Error::BadConfig {
            path: places.containers_dir.join("registries.conf"),
            reason: format!("registry {} of {reference} is blocked", reference.registry()),
        });
    }
    let own_name =
        |dir: &Path| directory_names(reference.registry()).map(|name| dir.join(name)).collect::<Vec<_>>();
    if let Some(found) = first_hosts_toml(places, reference, own_name, Trust::Origin)? {
        return Ok(found);
    }
    if let Some(registry) = registry {
        return registry.endpoints(places, reference);
    }
    // One server for all registries is the origin of none.
    let default = |dir: &Path| vec![dir.join("_default")];
    if let Some(found) = first_hosts_toml(places, reference, default, Trust::Mirror)? {
        return Ok(found);
    }
    Ok(vec![Description::origin(places, reference)?.endpoint()])
}

/// The references that a user's name may stand for, best first; several only for short names.
///
/// Fails on a malformed name, and on an ambiguous one where `short-name-mode` is `enforcing`.
pub(crate) fn candidates(conf: &RegistriesConf, name: &str) -> Result<Vec<Reference>, Error> {
    short_names::candidates(conf, name)
}

fn first_hosts_toml(
    places: &Places,
    reference: &Reference,
    directories: impl Fn(&Path) -> Vec<PathBuf>,
    server: Trust,
) -> Result<Option<Vec<Endpoint>>, Error> {
    for directory in places.all_certs_dirs().flat_map(|dir| directories(&dir)) {
        if let Some(endpoints) = hosts_toml::load(&directory, places, reference, server)? {
            return Ok(Some(endpoints));
        }
    }
    Ok(None)
}

/// Names of a host's directory in `certs.d`, as containerd looks them up: `host_port_` before `host:port`.
fn directory_names(host: &str) -> impl Iterator<Item = String> {
    let split = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let spelled = split.map(|(name, port)| format!("{name}_{port}_"));
    spelled.into_iter().chain([host.to_owned()])
}

/// What a configuration says of one host; every endpoint is [made](Self::endpoint) of one.
struct Description {
    /// As in [`Endpoint::base`].
    base: Url,
    /// The configuration chose between HTTP and HTTPS; else a loopback registry may speak either.
    is_scheme_given: bool,
    repository: String,
    namespace: Option<String>,
    trust: Trust,
    resolves: bool,
    pulls: bool,
    tls: Tls,
    /// No proof of identity is wanted, not even TLS.
    is_insecure: bool,
    headers: HeaderMap,
    dial_timeout: Option<Duration>,
}

impl Description {
    /// A mirror that does all, to be refined by what else is known.
    fn new(base: Url, repository: &str, tls: Tls) -> Self {
        Self {
            base,
            is_scheme_given: false,
            repository: repository.to_owned(),
            namespace: None,
            trust: Trust::Mirror,
            resolves: true,
            pulls: true,
            tls,
            is_insecure: false,
            headers: HeaderMap::new(),
            dial_timeout: None,
        }
    }

    /// `host` by HTTPS at the usual path, certificates in Docker's layout.
    fn at(places: &Places, host: &str, repository: &str) -> Result<Self, Error> {
        let api_host = if host == DEFAULT_REGISTRY { DOCKER_HUB } else { host };
        let base = Url::parse(&format!("https://{api_host}/v2")).map_err(|error| Error::BadReference {
            reference: format!("{host}/{repository}"),
            reason: format!("the registry makes no address: {error}"),
        })?;
        Ok(Self::new(base, repository, certs::find(places, host)?))
    }

    /// The reference's own registry without any configuration but certificates.
    fn origin(places: &Places, reference: &Reference) -> Result<Self, Error> {
        let at = Self::at(places, reference.registry(), reference.repository())?;
        Ok(Self { trust: Trust::Origin, ..at })
    }

    fn endpoint(self) -> Endpoint {
        let Self { base, repository, namespace, trust, resolves, pulls, mut tls, headers, .. } = self;
        // As containerd: a certificate made for the host says that it speaks TLS.
        let may_be_either =
            !self.is_scheme_given && base.host_str().is_some_and(is_loopback) && tls == Tls::default();
        tls.skip_verify |= self.is_insecure;
        Endpoint {
            base: without_user(base),
            repository,
            namespace,
            trust,
            resolves,
            pulls,
            http_fallback: self.is_insecure || may_be_either,
            tls,
            headers,
            dial_timeout: self.dial_timeout,
        }
    }
}

impl Endpoint {
    /// Is the API of the registry that references call `host`.
    pub(crate) fn is_at(&self, host: &str) -> bool {
        is_at(&self.base, host)
    }

    /// Host and port as credentials and error messages name them.
    pub(crate) fn host(&self) -> String {
        host_of(&self.base)
    }
}

/// Host and port; no port if it is the scheme's own.
pub(crate) fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An address without user and password: nobody but us says who we are, and addresses are shown in errors. containerd does
/// not read them either.
pub(crate) fn without_user(mut url: Url) -> Url {
    // Only addresses without a host refuse.
    let _ = (url.set_username(""), url.set_password(None));
    url
}

/// `url` is the API of the registry that references call `host`.
fn is_at(url: &Url, host: &str) -> bool {
    let (name, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
    let with_port = port.map(|port| format!("{name}:{port}"));
    host_of(url).eq_ignore_ascii_case(host)
        || with_port.is_some_and(|own| own.eq_ignore_ascii_case(host))
        || (host == DEFAULT_REGISTRY && host_of(url) == DOCKER_HUB)
}

/// Loopback registries may be plain HTTP, as with every other tool.
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
