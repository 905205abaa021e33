//! Where redirects lead, and what goes along.

use super::mirrors::write;
use super::{
    Answer, Credentials, Error, MANIFEST, Seen, Server, Session, basic, manifest, read, session, settings,
};

const BLOB: &[u8] = b"what the other registry has";
/// `joe:secret` and `node:own`.
const BASIC: &str = "Basic am9lOnNlY3JldA==";
const NODES_OWN: &str = "Basic bm9kZTpvd24=";

fn redirect(status: u16, target: String) -> Answer {
    Answer::status(status, "").header("location", target)
}

/// A registry with the content, which wants a token of its own; anonymous ones will do.
async fn real() -> Server {
    Server::start(|seen| {
        let host = seen.header("host").unwrap_or_default();
        match (seen.path.as_str(), seen.header("authorization")) {
            ("/token", None) => Answer::ok(r#"{"token":"anonymous"}"#),
            ("/token", Some(_)) => Answer::status(400, "credentials that are not mine"),
            (path, Some("Bearer anonymous")) if path.contains("/blobs/") => Answer::ok(BLOB),
            (_, Some("Bearer anonymous")) => Answer::ok(MANIFEST),
            _ => Answer::status(401, "")
                .header("www-authenticate", format!(r#"Bearer realm="http://{host}/token",service="real""#)),
        }
    })
    .await
}

/// Another name for `real`, that wants to know who asks, by `challenge`.
async fn vanity(real: &Server, challenge: &'static str) -> Server {
    let real = format!("http://localhost:{}", real.address.port());
    Server::start(move |seen| {
        let host = seen.header("host").unwrap_or_default();
        match (seen.path.as_str(), seen.header("authorization")) {
            ("/token", Some(BASIC)) => Answer::ok(r#"{"token":"of-joe"}"#),
            (path, None) if challenge.is_empty() => redirect(307, format!("{real}{path}")),
            (path, Some(BASIC | "Bearer of-joe")) => redirect(307, format!("{real}{path}")),
            _ => Answer::status(401, "").header("www-authenticate", challenge.replace("HOST", host)),
        }
    })
    .await
}

#[tokio::test]
async fn a_registry_that_a_redirect_leads_to_may_ask_for_a_token_of_its_own() {
    let challenges = ["", "Basic realm=\"x\"", "Bearer realm=\"http://HOST/token\",service=\"vanity\""];
    for challenge in challenges {
        let real = real().await;
        let vanity = vanity(&real, challenge).await;
        let session = session(vanity.reference("team/app:v1"), basic()).await;
        let fetched = session.manifest().await.unwrap_or_else(|error| panic!("{challenge:?}: {error}"));
        assert_eq!(fetched.bytes, MANIFEST);
        assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
        for secret in ["am9lOnNlY3JldA==", "secret", "of-joe"] {
            assert!(!real.has_seen(secret), "{challenge:?}: {secret} came: {:?}", real.seen());
        }
        let tokens = real.asked("/token");
        assert_eq!(tokens.len(), 1, "{challenge:?}: the token is kept");
        assert_eq!(tokens[0].query, "service=real&scope=repository%3Ateam%2Fapp%3Apull&client_id=linkspan");
        assert!(!vanity.has_seen("anonymous"), "{challenge:?}: the token is for the host that gave it");
    }
}

#[tokio::test]
async fn a_registry_that_a_redirect_leads_to_gets_what_the_node_has_for_it() {
    let real = Server::start(|seen| match seen.header("authorization") {
        Some(NODES_OWN) => Answer::ok(MANIFEST),
        _ => Answer::status(401, "").header("www-authenticate", "Basic"),
    })
    .await;
    let vanity = vanity(&real, "Basic").await;
    let dir = tempfile::tempdir().unwrap();
    let ask = async || {
        let reference = vanity.reference("team/app:v1");
        let session = Session::open(&settings(dir.path()), reference, basic().map(Into::into)).await.unwrap();
        session.manifest().await
    };
    let error = ask().await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let text = error.to_string();
    let names =
        [vanity.address.to_string(), format!("redirected to http://localhost:{}", real.address.port())];
    assert!(names.iter().all(|name| text.contains(name)), "both hosts are named: {text}");
    assert!(!real.has_seen("authorization"), "{:?}", real.seen());

    let host = format!("localhost:{}", real.address.port());
    let auths = serde_json::json!({"auths": {host: {"auth": "bm9kZTpvd24="}}});
    write(dir.path(), "auth.json", &auths.to_string());
    ask().await.unwrap();
    assert!(!vanity.has_seen("bm9kZTpvd24="));
}

/// What one host configured, or knows, is nothing to another port, and a cookie is nobody's.
#[tokio::test]
async fn nothing_of_ours_goes_along_with_a_redirect() {
    let target = Server::start(|_| Answer::ok(MANIFEST)).await;
    let to = format!("http://nobody:word@127.0.0.1:{}/x?signature=hush", target.address.port());
    let vanity = Server::start(move |_| redirect(302, to.clone()).header("set-cookie", "id=hush")).await;
    let dir = tempfile::tempdir().unwrap();
    let toml = format!(
        "[host.\"http://{0}\"]\n[host.\"http://{0}\".header]\nx-key = \"hush\"\nauthorization = \"Basic hush\"\n",
        vanity.address
    );
    write(dir.path(), &format!("certs.d/{}/hosts.toml", vanity.address), &toml);
    let token = Credentials::RegistryToken("of-joe".to_owned());
    let session =
        Session::open(&settings(dir.path()), vanity.reference("a:1"), Some(token.into())).await.unwrap();
    session.manifest().await.unwrap();
    session.manifest().await.unwrap();
    assert!(vanity.has_seen("of-joe") && vanity.has_seen("x-key"));
    for seen in target.seen() {
        for name in ["authorization", "x-key", "cookie", "referer"] {
            assert_eq!(seen.header(name), None, "{name}");
        }
    }
    assert!(vanity.seen().iter().all(|seen| seen.header("cookie").is_none()));
}

/// A token server at `from`, which sends on to `to` for the tokens.
async fn moved_token_server(target: impl Fn(&Seen) -> String + Send + Sync + 'static) -> Server {
    Server::start(move |seen| {
        let host = seen.header("host").unwrap_or_default();
        match (seen.path.as_str(), seen.header("authorization")) {
            ("/token", _) => redirect(307, target(seen)),
            ("/moved", Some(BASIC)) => Answer::ok(r#"{"token":"of-joe"}"#),
            ("/moved", _) if seen.body.contains("identity-of-joe") => Answer::ok(r#"{"token":"of-joe"}"#),
            (_, Some("Bearer of-joe" | "Bearer anonymous")) => Answer::ok(MANIFEST),
            _ => Answer::status(401, "").header(
                "www-authenticate",
                format!(r#"Bearer realm="http://{host}/token?key=hush",service="x""#),
            ),
        }
    })
    .await
}

#[tokio::test]
async fn a_token_server_that_moved_is_followed() {
    let server = moved_token_server(|_| "/moved?a=b".to_owned()).await;
    manifest(&server, basic()).await.unwrap();
    assert_eq!(server.asked("/moved")[0].query, "a=b");
    manifest(&server, Some(Credentials::IdentityToken("identity-of-joe".to_owned()))).await.unwrap();
}

#[tokio::test]
async fn credentials_do_not_follow_a_token_server_to_another_host() {
    let other = Server::start(|_| Answer::ok(r#"{"token":"anonymous"}"#)).await;
    let to = format!("http://localhost:{}/token", other.address.port());
    let server = moved_token_server(move |_| to.clone()).await;
    manifest(&server, basic()).await.unwrap();
    assert_eq!(other.asked("/token").len(), 1);
    assert!(!other.has_seen("authorization"), "{:?}", other.seen());

    let identity = Credentials::IdentityToken("identity-of-joe".to_owned());
    let error = manifest(&server, Some(identity)).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("localhost") && !text.contains("identity-of-joe") && !text.contains("hush"),
        "{text}"
    );
    assert!(!other.has_seen("identity-of-joe"));
}

#[tokio::test]
async fn a_token_server_that_goes_in_circles_is_left() {
    let server = moved_token_server(|_| "/token".to_owned()).await;
    let error = manifest(&server, None).await.unwrap_err().to_string();
    assert!(error.contains("more than 10 redirects"), "{error}");
    assert!(!error.contains("hush"), "{error}");
}
