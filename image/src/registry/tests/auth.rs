use super::{Answer, Credentials, Error, MANIFEST, Seen, Server, basic, manifest, session};

/// A registry that wants `Authorization: <wanted>`, and its token server at `/token` on the same address.
async fn guarded(
    challenge: impl Fn(&str) -> String + Send + Sync + 'static,
    wanted: &'static str,
    token: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
) -> Server {
    Server::start(move |seen| {
        let host = seen.header("host").unwrap_or_default();
        match seen.path.as_str() {
            "/token" => token(seen),
            _ if seen.header("authorization") == Some(wanted) => Answer::ok(MANIFEST),
            _ => Answer::status(
                401,
                r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
            )
            .header("www-authenticate", challenge(host)),
        }
    })
    .await
}

fn bearer(host: &str) -> String {
    format!(r#"Bearer realm="http://{host}/token",service="reg",scope="repository:team/app:pull""#)
}

#[tokio::test]
async fn an_anonymous_token_is_fetched_and_used_again() {
    let server = guarded(bearer, "Bearer t1", |_| Answer::ok(r#"{"token":"t1","expires_in":300}"#)).await;
    let session = session(server.reference("team/app:v1"), None).await;
    session.manifest().await.unwrap();
    session.manifest().await.unwrap();
    let tokens = server.asked("/token");
    assert_eq!(tokens.len(), 1, "the token is cached");
    assert_eq!(tokens[0].query, "service=reg&scope=repository%3Ateam%2Fapp%3Apull&client_id=linkspan");
    assert_eq!(tokens[0].header("authorization"), None);
    assert_eq!(server.asked("/v2/team/app/manifests/v1").len(), 3);
}

#[tokio::test]
async fn a_token_about_to_expire_is_fetched_again_before_it_is_refused() {
    let server = guarded(bearer, "Bearer t1", |_| Answer::ok(r#"{"token":"t1","expires_in":300}"#)).await;
    let session = session(server.reference("team/app:v1"), None).await;
    session.manifest().await.unwrap();
    session.peers[0].authorizer.expire().await;
    session.manifest().await.unwrap();
    assert_eq!(server.asked("/token").len(), 2);
    assert_eq!(server.asked("manifests/v1").len(), 3, "one refusal in all");
}

#[tokio::test]
async fn a_token_that_is_refused_is_fetched_again() {
    let server = Server::start(|seen| match (seen.path.as_str(), seen.header("authorization")) {
        ("/token", _) => Answer::ok(format!(r#"{{"access_token":"t{}"}}"#, seen.earlier)),
        (_, Some("Bearer t0")) if seen.earlier < 2 => Answer::ok(MANIFEST),
        (_, Some("Bearer t1")) => Answer::ok(MANIFEST),
        _ => Answer::status(401, "").header("www-authenticate", bearer(seen.header("host").unwrap())),
    })
    .await;
    let session = session(server.reference("team/app:v1"), None).await;
    session.manifest().await.unwrap();
    session.manifest().await.unwrap();
    assert_eq!(server.asked("/token").len(), 2);
}

#[tokio::test]
async fn user_and_password_go_to_the_token_server_only() {
    let server = guarded(bearer, "Bearer t1", |_| Answer::ok(r#"{"token":"t1"}"#)).await;
    manifest(&server, basic()).await.unwrap();
    let tokens = server.asked("/token");
    assert_eq!(tokens[0].header("authorization"), Some("Basic am9lOnNlY3JldA=="));
    assert!(tokens[0].query.contains("account=joe"), "{}", tokens[0].query);
    let to_registry = server.asked("manifests/v1");
    assert!(
        to_registry.iter().all(|seen| !seen.header("authorization").unwrap_or_default().starts_with("Basic"))
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let server = guarded(bearer, "Bearer t1", |_| Answer::ok(r#"{"access_token":"t1"}"#)).await;
    manifest(&server, Some(Credentials::IdentityToken("id&tok".to_owned()))).await.unwrap();
    let token = &server.asked("/token")[0];
    assert_eq!(token.method, "POST");
    assert_eq!(
        token.body,
        "grant_type=refresh_token&refresh_token=id%26tok&service=reg&scope=repository%3Ateam%2Fapp%3Apull&client_id=linkspan"
    );
}

#[tokio::test]
async fn a_registry_token_is_sent_without_being_asked_for() {
    let server = guarded(bearer, "Bearer mine", |_| Answer::status(500, "")).await;
    manifest(&server, Some(Credentials::RegistryToken("mine".to_owned()))).await.unwrap();
    assert!(server.asked("/token").is_empty());
    let seen = server.seen();
    let sent: Vec<Option<&str>> = seen.iter().map(|seen| seen.header("authorization")).collect();
    assert_eq!(sent, [None, Some("Bearer mine")], "nothing before this host has answered in plain HTTP");
}

#[tokio::test]
async fn basic_authentication_answers_a_basic_challenge() {
    let challenge = |_: &str| r#"Basic realm="reg""#.to_owned();
    let server = guarded(challenge, "Basic am9lOnNlY3JldA==", |_| Answer::status(500, "")).await;
    manifest(&server, basic()).await.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), None, "nothing is sent before it is asked for");
}

#[tokio::test]
async fn refusals_are_unauthorized_with_the_registrys_words() {
    let challenge = |_: &str| r#"Basic realm="reg""#.to_owned();
    let server = guarded(challenge, "Basic other", |_| Answer::status(500, "")).await;
    for credentials in [None, basic()] {
        let error = manifest(&server, credentials).await.unwrap_err();
        assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
        assert!(error.to_string().contains("authentication required"), "{error}");
    }

    let refused = |_: &Seen| Answer::status(401, r#"{"details":"incorrect username or password"}"#);
    let server = guarded(bearer, "Bearer t1", refused).await;
    let error = manifest(&server, basic()).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains("incorrect username or password"), "{error}");
    assert_eq!(server.asked("/token").len(), 1, "a refusal is not repeated");

    let server = Server::start(|_| Answer::status(403, r#"{"errors":[{"code":"DENIED"}]}"#)).await;
    let error = manifest(&server, None).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_token_server_in_trouble_is_asked_again() {
    let token = |seen: &Seen| match seen.earlier {
        0 => Answer::status(503, "").header("retry-after", "0"),
        _ => Answer::ok(r#"{"token":"t1"}"#),
    };
    let server = guarded(bearer, "Bearer t1", token).await;
    manifest(&server, None).await.unwrap();
}

#[tokio::test]
async fn the_auth_file_is_used_when_the_request_brings_nothing() {
    let challenge = |_: &str| "Basic".to_owned();
    let server = guarded(challenge, "Basic ZmlsZTpwdw==", |_| Answer::status(500, "")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = serde_json::json!({"auths": {format!("{}/team", server.address): {"auth": "ZmlsZTpwdw=="}}});
    std::fs::write(dir.path().join("auth.json"), file.to_string()).unwrap();
    let settings = super::settings(dir.path());
    let open = async |credentials: Option<Credentials>| {
        let credentials = credentials.map(Into::into);
        super::Session::open(&settings, server.reference("team/app:v1"), credentials).await.unwrap()
    };
    open(None).await.manifest().await.unwrap();
    let error = open(basic()).await.manifest().await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "the request's credentials win: {error}");
}
