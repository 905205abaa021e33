//! Which host sees which secret.

use std::path::Path;

use super::mirrors::{open, write};
use super::{Answer, Credentials, Error, MANIFEST, Server, Session, basic, settings};
use crate::RequestCredentials;

/// `joe:secret` and `mirror:pw`.
const BASIC: &str = "Basic am9lOnNlY3JldA==";
const MIRRORS_OWN: &str = "Basic bWlycm9yOnB3";

/// What a host may find out if everything is told: of `basic()` and of the tokens below.
const SECRETS: [&str; 4] = ["am9lOnNlY3JldA==", "secret", "identity-of-joe", "token-of-joe"];

fn all_kinds() -> [Credentials; 3] {
    [
        basic().unwrap(),
        Credentials::IdentityToken("identity-of-joe".to_owned()),
        Credentials::RegistryToken("token-of-joe".to_owned()),
    ]
}

/// Wants `joe:secret`, or a token that it gives for whatever shows that one is joe.
async fn origin() -> Server {
    Server::start(|seen| {
        let host = seen.header("host").unwrap_or_default();
        let shown = seen.header("authorization").unwrap_or_default();
        match seen.path.as_str() {
            "/token" if shown == BASIC || seen.body.contains("identity-of-joe") => {
                Answer::ok(r#"{"token":"token-of-joe"}"#)
            }
            "/token" => Answer::status(401, ""),
            _ if shown == "Bearer token-of-joe" => Answer::ok(MANIFEST),
            _ => Answer::status(401, "").header(
                "www-authenticate",
                format!(r#"Bearer realm="http://{host}/token",service="origin""#),
            ),
        }
    })
    .await
}

/// Wants whatever it can get.
async fn mirror(challenge: String) -> Server {
    Server::start(move |seen| match seen.header("authorization") {
        Some(MIRRORS_OWN) => Answer::ok(MANIFEST),
        _ => Answer::status(401, "").header("www-authenticate", challenge.clone()),
    })
    .await
}

/// Gives tokens to all.
async fn elsewhere() -> Server {
    Server::start(|_| Answer::ok(r#"{"token":"of-elsewhere"}"#)).await
}

fn check_is_ignorant(server: &Server, what: &str) {
    for secret in SECRETS {
        assert!(!server.has_seen(secret), "{what}: {secret} came: {:?}", server.seen());
    }
}

/// Each way to name `mirror` and `origin` for registry.example.
fn configurations(mirror: &Server, origin: &Server) -> [(&'static str, String); 3] {
    let (mirror, origin) = (mirror.address, origin.address);
    let hosts = format!("server = \"http://{origin}\"\n[host.\"http://{mirror}\"]\n");
    let conf = format!(
        "[[registry]]\nprefix = \"registry.example\"\nlocation = \"{origin}\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{mirror}\"\ninsecure = true\n"
    );
    [
        ("certs.d/registry.example/hosts.toml", hosts.clone()),
        ("certs.d/registry.example/hosts.toml", hosts.replace("[host.\"http://", "[host.\"")),
        ("registries.conf", conf),
    ]
}

#[tokio::test]
async fn the_requests_credentials_reach_the_origin_and_no_mirror() {
    let elsewhere = elsewhere().await;
    let challenges = [
        r#"Basic realm="x""#.to_owned(),
        format!(r#"Bearer realm="http://{}/token",service="x""#, elsewhere.address),
    ];
    for credentials in all_kinds() {
        for challenge in &challenges {
            let (mirror, origin) = (mirror(challenge.clone()).await, origin().await);
            for (path, text) in configurations(&mirror, &origin) {
                let what = format!("{credentials:?}, {challenge}, {path}");
                let dir = tempfile::tempdir().unwrap();
                write(dir.path(), path, &text);
                let before = mirror.seen().len();
                let session = open(dir.path(), "registry.example/app:v1", Some(credentials.clone())).await;
                session.manifest().await.unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(mirror.seen().len() > before, "{what}: the mirror was asked");
                check_is_ignorant(&mirror, &what);
                check_is_ignorant(&elsewhere, &what);
            }
        }
    }
}

#[tokio::test]
async fn one_server_for_all_registries_is_a_mirror() {
    let origin = origin().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "certs.d/_default/hosts.toml", &format!("server = \"http://{}\"", origin.address));
    for credentials in all_kinds() {
        let session = open(dir.path(), "registry.example/app:v1", Some(credentials)).await;
        let error = session.manifest().await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&origin.address.to_string()) && text.contains("auth.json"), "{text}");
        check_is_ignorant(&origin, "server of _default");
    }
}

#[tokio::test]
async fn a_registry_under_another_name_in_its_own_directory_is_the_origin() {
    let origin = origin().await;
    let dir = tempfile::tempdir().unwrap();
    let toml = format!("[host.\"http://{}\"]", origin.address);
    write(dir.path(), &format!("certs.d/{}/hosts.toml", origin.address), &toml);
    for credentials in all_kinds() {
        let session = open(dir.path(), &format!("{}/app:v1", origin.address), Some(credentials)).await;
        session.manifest().await.unwrap();
    }
}

#[tokio::test]
async fn a_mirror_has_its_own_credentials_from_the_auth_file() {
    for credentials in all_kinds() {
        let (mirror, origin) = (mirror("Basic".to_owned()).await, origin().await);
        let dir = tempfile::tempdir().unwrap();
        let auths = serde_json::json!({"auths": {mirror.address.to_string(): {"auth": "bWlycm9yOnB3"}}});
        write(dir.path(), "auth.json", &auths.to_string());
        let (path, text) = &configurations(&mirror, &origin)[0];
        write(dir.path(), path, text);
        let session = open(dir.path(), "registry.example/app:v1", Some(credentials)).await;
        session.manifest().await.unwrap();
        assert!(origin.seen().is_empty());
        check_is_ignorant(&mirror, "own entry");
    }
}

/// Opens with `mirror_credentials`.
async fn lending(dir: &Path, credentials: Credentials) -> Session {
    let settings = super::Settings { lends_to_mirrors: true, ..settings(dir) };
    let reference = "registry.example/app:v1".parse().unwrap();
    Session::open(&settings, reference, Some(credentials.into())).await.unwrap()
}

#[tokio::test]
async fn credentials_are_lent_to_mirrors_over_tls_only() {
    let wants = |seen: &super::Seen| match seen.header("authorization") {
        Some(BASIC) => Answer::ok(MANIFEST),
        _ => Answer::status(401, "").header("www-authenticate", "Basic"),
    };
    let mirror = Server::start_tls(0, wants).await;
    let dir = tempfile::tempdir().unwrap();
    let toml = |scheme: &str, mirror: &Server| {
        let end = "server = \"http://127.0.0.1:1\"\n";
        format!("{end}[host.\"{scheme}://{}\"]\nca = \"m.crt\"\n", mirror.address)
    };
    write(dir.path(), "certs.d/registry.example/m.crt", &mirror.certificate);
    write(dir.path(), "certs.d/registry.example/hosts.toml", &toml("https", &mirror));
    lending(dir.path(), basic().unwrap()).await.manifest().await.unwrap();
    let token = Credentials::RegistryToken("token-of-joe".to_owned());
    lending(dir.path(), token).await.manifest().await.unwrap_err();
    assert!(!mirror.has_seen("token-of-joe"), "a registry token is not lent");

    let plain = Server::start(wants).await;
    write(dir.path(), "certs.d/registry.example/hosts.toml", &toml("http", &plain));
    for credentials in all_kinds() {
        lending(dir.path(), credentials).await.manifest().await.unwrap_err();
    }
    assert!(!plain.seen().is_empty());
    check_is_ignorant(&plain, "plain HTTP");
}

#[tokio::test]
async fn credentials_for_another_server_are_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    for credentials in all_kinds() {
        let origin = origin().await;
        let name = origin.address.to_string();
        let ask = async |server: &str| {
            let given =
                RequestCredentials { credentials: credentials.clone(), server: Some(server.to_owned()) };
            let reference = origin.reference("app:v1");
            Session::open(&settings(dir.path()), reference, Some(given)).await.unwrap().manifest().await
        };
        let error = ask("other.example").await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        check_is_ignorant(&origin, "for other.example");
        ask(&name).await.unwrap();
    }
}

#[test]
fn registries_have_several_names() {
    let check = |one: &str, other: &str, same: bool| {
        assert_eq!(super::super::credentials::same_host(one, other), same, "{one} {other}");
    };
    check("index.docker.io", "docker.io", true);
    check("registry-1.docker.io", "docker.io", true);
    check("Registry.Example", "registry.example", true);
    check("registry.example:443", "registry.example", true);
    check("registry.example:5000", "registry.example", false);
    check("example", "registry.example", false);
}
