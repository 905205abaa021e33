//! What `hosts.toml` and `registries.conf` may say.

use std::path::Path;

use super::{Endpoint, Places, RegistriesConf, Trust, candidates, hosts_toml as file};
use crate::Reference;

const REFERENCES: [&str; 4] = [
    "docker.io/library/busybox:1.36",
    "registry.example.com:5000/a/b/c",
    "localhost/a:1",
    "[::1]:5000/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
];

fn each_reference(check: impl Fn(&Reference)) {
    REFERENCES.iter().map(|text| text.parse().expect("a reference")).for_each(|reference| check(&reference));
}

/// No configuration of its own.
fn places() -> Places {
    Places { containers_dir: "/nonexistent".into(), certs_dirs: Vec::new() }
}

fn judge(endpoints: &[Endpoint]) {
    assert!(!endpoints.is_empty(), "no host to ask");
    for endpoint in endpoints {
        let base = &endpoint.base;
        assert!(matches!(base.scheme(), "http" | "https") && base.host_str().is_some(), "{base}");
        assert!(base.username().is_empty() && base.password().is_none(), "{base} has a user");
        assert!(base.query().is_none(), "{base} has a query");
        assert!(endpoint.headers.values().all(http::HeaderValue::is_sensitive), "a header would be logged");
    }
}

/// `certs.d/<host>/hosts.toml`.
///
/// # Panics
/// On a fault.
pub fn hosts_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let directory = Path::new("/nonexistent/certs.d/host");
    each_reference(|reference| match file::parse(text, directory, &places(), reference, Trust::Mirror) {
        Ok(endpoints) => judge(&endpoints),
        Err(error) => assert!(error.to_string().contains("hosts.toml"), "{error}"),
    });
}

/// `registries.conf` or a drop-in.
///
/// # Panics
/// On a fault.
pub fn registries_conf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut conf = RegistriesConf::default();
    if let Err(error) = conf.merge(text, Path::new("/nonexistent/registries.conf")) {
        return assert!(error.to_string().contains("registries.conf"), "{error}");
    }
    each_reference(|reference| {
        if let Some(Ok(endpoints)) =
            conf.find(reference).map(|registry| registry.endpoints(&places(), reference))
        {
            judge(&endpoints);
            assert_eq!(endpoints.last().map(|last| last.trust), Some(Trust::Origin));
        }
    });
    for name in ["busybox", "a/b:1", "quay.io/a"] {
        let all = candidates(&conf, name);
        assert!(all.is_err() || all.is_ok_and(|all| !all.is_empty()), "{name} stands for nothing");
    }
}
