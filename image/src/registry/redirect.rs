//! Where redirects lead. One way to follow them, for all requests; what a request carries is decided anew at each
//! address, by its [`Site`].

use http::header::LOCATION;
use reqwest::{Response, Url};

use super::failure::{Failure, Kind};
use super::hosts::{host_of, is_loopback, without_user};

const MAX_REDIRECTS: usize = 10;

/// What a secret is given to: another scheme, host or port is somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Site {
    scheme: String,
    /// With its port, if that is not the scheme's own.
    host: String,
}

impl Site {
    pub(super) fn of(url: &Url) -> Self {
        Self { scheme: url.scheme().to_owned(), host: host_of(url) }
    }

    /// Nobody on the way can read along or answer in its place.
    pub(super) fn is_private(&self, skips_verification: bool) -> bool {
        (self.scheme == "https" && !skips_verification) || is_loopback(&self.host)
    }

    /// As `auth.json` names it.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

/// The addresses that one request has led to.
pub(super) struct Trail {
    first: Site,
    url: Url,
    redirects: usize,
}

impl Trail {
    pub(super) fn new(url: Url) -> Self {
        Self { first: Site::of(&url), url, redirects: 0 }
    }

    /// Where to ask now.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Still where it began: what is for that site only may be sent.
    pub(super) fn is_at_home(&self) -> bool {
        Site::of(&self.url) == self.first
    }

    /// The request `name` and where it led to, for messages.
    pub(super) fn told(&self, name: &str) -> String {
        match self.redirects {
            0 => name.to_owned(),
            _ => format!("{name}, redirected to {}", shown(&self.url)),
        }
    }

    /// Takes an answer to the request `name` in. `Ok(true)`: it is a redirect, ask again. `Ok(false)`: it is the end.
    pub(super) fn follow(&mut self, name: &str, response: &Response) -> Result<bool, Failure> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(false);
        }
        let target = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let target = target.and_then(|target| response.url().join(target).ok());
        let Some(target) = target.filter(|target| matches!(target.scheme(), "http" | "https")) else {
            return Err(Failure::new(
                Kind::Unavailable,
                format!("{}: redirected to nowhere", self.told(name)),
            ));
        };
        if self.redirects == MAX_REDIRECTS {
            let text = format!("{name}: more than {MAX_REDIRECTS} redirects");
            return Err(Failure::new(Kind::Unavailable, text));
        }
        self.redirects += 1;
        self.url = without_user(target);
        Ok(true)
    }
}

/// An address without what may be secret: object stores sign in the query.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = without_user(url.clone());
    shown.set_query(None);
    shown.set_fragment(None);
    shown.into()
}
