use std::path::Path;

use super::{Endpoint, Places, RegistriesConf, Trust, candidates, endpoints};
use crate::{Error, Reference};

/// Configuration files in a directory of their own.
struct Setup {
    dir: tempfile::TempDir,
}

impl Setup {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn places(&self) -> Places {
        Places { containers_dir: self.path().to_owned(), certs_dirs: vec![self.path().join("more")] }
    }

    fn conf(&self) -> RegistriesConf {
        RegistriesConf::load(self.path()).unwrap()
    }

    fn endpoints(&self, reference: &str) -> Result<Vec<Endpoint>, Error> {
        endpoints(&self.places(), &reference.parse::<Reference>().unwrap())
    }

    /// Each endpoint as `base repository[ flags]`.
    fn check(&self, reference: &str, expected: &[&str]) {
        let found: Vec<String> = self.endpoints(reference).unwrap().iter().map(describe).collect();
        assert_eq!(found, expected, "{reference}");
    }

    fn refuse(&self, reference: &str, why: &str) {
        let error = self.endpoints(reference).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    fn short(&self, name: &str, expected: &[&str]) {
        let found = candidates(&self.conf(), name).unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{name}");
    }
}

fn describe(endpoint: &Endpoint) -> String {
    let mut text = format!("{} {}", endpoint.base, endpoint.repository);
    let mut flag = |is_set: bool, name: &str| {
        if is_set {
            text = format!("{text} {name}");
        }
    };
    flag(!endpoint.resolves, "no-resolve");
    flag(!endpoint.pulls, "no-pull");
    flag(endpoint.http_fallback, "plain");
    flag(endpoint.tls.skip_verify, "skip-verify");
    flag(endpoint.trust == Trust::Origin, "origin");
    if let Some(namespace) = &endpoint.namespace {
        flag(true, &format!("ns={namespace}"));
    }
    text
}

#[test]
fn without_configuration_the_registry_itself_is_asked() {
    let setup = Setup::new(&[]);
    setup.check("busybox", &["https://registry-1.docker.io/v2 library/busybox origin"]);
    setup.check("quay.io/a/b", &["https://quay.io/v2 a/b origin"]);
    setup.check("localhost:5000/a", &["https://localhost:5000/v2 a plain origin"]);
    setup.check("[::1]:5000/a", &["https://[::1]:5000/v2 a plain origin"]);
    setup.check("127.9.9.9/a", &["https://127.9.9.9/v2 a plain origin"]);
    setup.check("10.0.0.1:5000/a", &["https://10.0.0.1:5000/v2 a origin"]);
}

#[test]
fn hosts_toml_is_read_in_the_order_of_the_file() {
    let text = r#"
        server = "https://quay.io"
        ca = "ca.crt"
        [host."https://zzz.example"]
          capabilities = ["pull"]
          client = [["/c.cert", "/c.key"], ["/d.cert", ""]]
          dial_timeout = "1.5s"
        [host."aaa.example:8443/base"]
          skip_verify = true
          ca = ["one.crt", "/abs/two.crt"]
          client = "both.pem"
        [host."http://mmm.example/whole/v2/path"]
          override_path = true
        [host."http://mmm.example/x/v2/"]
    "#;
    let setup = Setup::new(&[("certs.d/quay.io/hosts.toml", text)]);
    setup.check(
        "quay.io/a/b",
        &[
            "https://zzz.example/v2 a/b no-resolve ns=quay.io",
            "https://aaa.example:8443/base/v2 a/b skip-verify ns=quay.io",
            "http://mmm.example/whole/v2/path a/b ns=quay.io",
            "http://mmm.example/x/v2 a/b ns=quay.io",
            "https://quay.io/v2 a/b origin",
        ],
    );
    let found = setup.endpoints("quay.io/a/b").unwrap();
    let dir = setup.path().join("certs.d/quay.io");
    assert_eq!(found[0].tls.client, Some(("/c.cert".into(), Some("/c.key".into()))));
    assert_eq!(found[0].dial_timeout, Some(std::time::Duration::from_millis(1500)));
    assert_eq!(found[1].tls.ca, [dir.join("one.crt"), "/abs/two.crt".into()]);
    assert_eq!(found[1].tls.client, Some((dir.join("both.pem"), None)));
    assert_eq!(found[4].tls.ca, [dir.join("ca.crt")]);
}

#[test]
fn directories_of_hosts_have_several_names() {
    let mirror = r#"[host."https://m.example"]"#;
    for name in
        ["certs.d/r.example_5000_", "certs.d/r.example:5000", "more/r.example:5000", "certs.d/_default"]
    {
        let setup = Setup::new(&[(&format!("{name}/hosts.toml"), mirror)]);
        setup.check(
            "r.example:5000/a",
            &["https://m.example/v2 a ns=r.example:5000", "https://r.example:5000/v2 a origin"],
        );
    }
    let hub = Setup::new(&[("certs.d/docker.io/hosts.toml", mirror)]);
    hub.check(
        "busybox",
        &[
            "https://m.example/v2 library/busybox ns=docker.io",
            "https://registry-1.docker.io/v2 library/busybox origin",
        ],
    );
    let moved = r#"server = "https://user:word@s.example""#;
    let own = Setup::new(&[("certs.d/r.example/hosts.toml", moved)]);
    own.check("r.example/a", &["https://s.example/v2 a origin ns=r.example"]);
    let of_all = Setup::new(&[("certs.d/_default/hosts.toml", moved)]);
    of_all.check("r.example/a", &["https://s.example/v2 a ns=r.example"]);
    of_all.check("s.example:443/a", &["https://s.example/v2 a origin"]);
    let hub = Setup::new(&[("certs.d/docker.io/hosts.toml", r#"server = "https://docker.io""#)]);
    hub.check("busybox", &["https://registry-1.docker.io/v2 library/busybox origin"]);
}

#[test]
fn registries_conf_gives_mirrors_and_places() {
    let conf = r#"
        unqualified-search-registries = ["quay.io"]
        [[registry]]
        location = "docker.io"
        [[registry.mirror]]
        location = "m1.example/hub"
        [[registry.mirror]]
        location = "m2.example"
        insecure = true
        pull-from-mirror = "digest-only"
        [[registry.mirror]]
        location = "m3.example"
        pull-from-mirror = "tag-only"
        [[registry]]
        prefix = "docker.io/team"
        location = "team.example/x"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m4.example"
        [[registry]]
        prefix = "*.wild.example"
        insecure = true
        [[registry]]
        prefix = "bad.example"
        blocked = true
    "#;
    let setup = Setup::new(&[("registries.conf", conf)]);
    setup.check(
        "busybox:1",
        &[
            "https://m1.example/v2 hub/library/busybox",
            "https://m2.example/v2 library/busybox no-resolve plain skip-verify",
            "https://m3.example/v2 library/busybox",
            "https://registry-1.docker.io/v2 library/busybox origin",
        ],
    );
    let pinned = format!("busybox@sha256:{}", "a".repeat(64));
    assert_eq!(setup.endpoints(&pinned).unwrap().len(), 3, "a tag-only mirror is not for digests");
    setup.check(
        "team/app:1",
        &["https://m4.example/v2 app no-resolve", "https://team.example/v2 x/app origin"],
    );
    assert_eq!(setup.endpoints("teams/app:1").unwrap().len(), 4, "`team` is no prefix of `teams`");
    setup.check("a.b.wild.example:5000/x", &["https://a.b.wild.example:5000/v2 x plain skip-verify origin"]);
    setup.check("wild.example/x", &["https://wild.example/v2 x origin"]);
    setup.refuse("bad.example/x", "blocked");
}

#[test]
fn a_later_drop_in_replaces_a_registry() {
    let setup = Setup::new(&[
        ("registries.conf", "[[registry]]\nlocation = 'r.example'\ninsecure = true\n"),
        ("registries.conf.d/20.conf", "[[registry]]\nlocation = 'r.example/'\n"),
        ("registries.conf.d/10.conf", "[[registry]]\nlocation = 'r.example'\nblocked = true\n"),
        ("registries.conf.d/30.conf.bak", "not toml at all"),
    ]);
    setup.check("r.example/x", &["https://r.example/v2 x origin"]);
}

#[test]
fn hosts_toml_wins_over_registries_conf_and_that_over_the_default() {
    let conf = "[[registry]]\nlocation = 'r.example'\n[[registry.mirror]]\nlocation = 'conf.example'\n";
    let own = ("certs.d/r.example/hosts.toml", "[host.'https://toml.example']");
    let default = ("certs.d/_default/hosts.toml", "[host.'https://default.example']");
    let first = |files: &[(&str, &str)]| Setup::new(files).endpoints("r.example/x").unwrap()[0].host();
    assert_eq!(first(&[("registries.conf", conf), own, default]), "toml.example");
    assert_eq!(first(&[("registries.conf", conf), default]), "conf.example");
    assert_eq!(first(&[default]), "default.example");
    let blocked = "[[registry]]\nlocation = 'r.example'\nblocked = true\n";
    Setup::new(&[("registries.conf", blocked), own]).refuse("r.example/x", "blocked");
}

#[test]
fn certificates_in_dockers_layout_are_found() {
    let setup = Setup::new(&[
        ("certs.d/localhost:5000/ca.crt", ""),
        ("certs.d/localhost:5000/client.cert", ""),
        ("certs.d/localhost:5000/client.key", ""),
        ("certs.d/half.example/client.cert", ""),
    ]);
    let dir = setup.path().join("certs.d/localhost:5000");
    let found = &setup.endpoints("localhost:5000/x").unwrap()[0];
    assert_eq!(found.tls.ca, [dir.join("ca.crt")]);
    assert_eq!(found.tls.client, Some((dir.join("client.cert"), Some(dir.join("client.key")))));
    assert!(!found.http_fallback, "who has certificates speaks TLS");
    setup.refuse("half.example/x", "missing key");
}

#[test]
fn mistakes_name_the_file() {
    let broken = |path: &str, text: &str| {
        let setup = Setup::new(&[(path, text)]);
        setup.refuse("r.example/x", path);
    };
    broken("certs.d/r.example/hosts.toml", "server = ");
    broken("certs.d/r.example/hosts.toml", "[host.'https://m']\ncapabilities = ['fly']");
    broken("certs.d/r.example/hosts.toml", "[host.'https://m']\ndial_timeout = 'soon'");
    broken("certs.d/r.example/hosts.toml", "[host.'http://m']\n[host.'http://m'.header]\n'a b' = 'c'");
    broken("registries.conf", "[[registry]]\nprefix = 'a*b'");
    broken("registries.conf", "[[registry]]\nlocation = 'https://r.example'");
    // What a fuzzer sent: what is behind the host was taken for a query, and the request went elsewhere.
    broken("registries.conf", "[[registry]]\nlocation = 'r.example?x'");
    broken(
        "registries.conf",
        "[[registry]]\nlocation = 'r.example'\n[[registry.mirror]]\nlocation = 'me@m.example/x'",
    );
    broken("registries.conf", "[registries.search]\nregistries = ['x']");
    broken("registries.conf.d/1.conf", "short-name-mode = 'loud'");
}

#[test]
fn mistakes_beside_a_password_do_not_tell_it() {
    for text in [
        "[host.'https://m']\n[host.'https://m'.header]\nauthorization = 'Basic hush",
        "[host.'https://m']\nheader = 'Basic hush'",
        "[host.'https://joe:hush@m']\ncapabilities = ['fly']",
        "[host.'https://joe:hush@m m']",
        "[host.'https://m'.header]\nauthorization = \"Basic hush\\u0001\"",
    ] {
        let setup = Setup::new(&[("certs.d/r.example/hosts.toml", text)]);
        let error = setup.endpoints("r.example/x").unwrap_err().to_string();
        assert!(error.contains("hosts.toml") && !error.contains("hush"), "{error}");
    }
}

#[test]
fn short_names_follow_aliases_and_search_registries() {
    let none = Setup::new(&[]);
    none.short("busybox", &["docker.io/library/busybox:latest"]);
    none.short("a/b:1", &["docker.io/a/b:1"]);

    let conf = "unqualified-search-registries = ['quay.io', 'docker.io']\n[aliases]\nfedora = 'r.example/fedora'\ngone = 'x.y/z'\n";
    let setup =
        Setup::new(&[("registries.conf", conf), ("registries.conf.d/1.conf", "[aliases]\ngone = ''\n")]);
    setup.short("busybox", &["quay.io/busybox:latest", "docker.io/library/busybox:latest"]);
    setup.short("fedora:40", &["r.example/fedora:40"]);
    setup.short("gone", &["quay.io/gone:latest", "docker.io/library/gone:latest"]);
    setup.short("localhost/x", &["localhost/x:latest"]);
    setup.short("docker.io/x", &["docker.io/library/x:latest"]);

    let strict = Setup::new(&[("registries.conf", &format!("short-name-mode = 'enforcing'\n{conf}"))]);
    strict.short("fedora", &["r.example/fedora:latest"]);
    let error = candidates(&strict.conf(), "busybox").unwrap_err().to_string();
    assert!(error.contains("quay.io, docker.io"), "{error}");
}
