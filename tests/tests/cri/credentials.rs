//! Which host sees the secrets of a pull.

use std::path::Path;

use linkspan_cri_api::v1;
use linkspan_tests::faults::FaultRegistry;
use linkspan_tests::node::Node;
use linkspan_tests::{need, node, requests};
use tonic::Status;

/// What could be of use to whoever reads along: `user:secret`, and the token that it is worth.
const SECRETS: [&str; 3] = ["dXNlcjpzZWNyZXQ=", "secret-token", "hidden"];

fn write(node: &Node, path: &str, text: &str) -> anyhow::Result<()> {
    let path = node.prefix().join("etc/containers").join(path);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    Ok(std::fs::write(path, text)?)
}

async fn pull(node: &mut Node, repository: &str, auth: v1::AuthConfig) -> Result<String, Status> {
    let request = v1::PullImageRequest {
        image: Some(requests::image(&format!("origin.test/{repository}/x:latest"))),
        auth: Some(auth),
        ..Default::default()
    };
    Ok(node.images.pull_image(request).await?.into_inner().image_ref)
}

fn basic(username: &str, password: &str) -> v1::AuthConfig {
    v1::AuthConfig { username: username.into(), password: password.into(), ..Default::default() }
}

fn check_has_no_secret(what: &str, texts: &[String]) {
    for secret in SECRETS {
        let found: Vec<_> = texts.iter().filter(|text| text.contains(secret)).collect();
        assert!(found.is_empty(), "{secret} in {what}: {found:?}");
    }
}

fn check_log(node: &Node) -> anyhow::Result<()> {
    let log = std::fs::read_to_string(node.prefix().join("daemon.log"))?;
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    check_has_no_secret("the log", &lines);
    Ok(())
}

/// A mirror in plain HTTP, whose tokens come from somewhere else, before a registry that wants the same.
async fn mirrored(test: impl AsyncFnOnce(&mut Node, [&FaultRegistry; 3]) -> anyhow::Result<()>) {
    let elsewhere = FaultRegistry::start().await.unwrap();
    let mirror = FaultRegistry::start_with_realm(&elsewhere.address).await.unwrap();
    let origin = FaultRegistry::start().await.unwrap();
    node::run(async |node| {
        let hosts = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", origin.address, mirror.address);
        write(node, "certs.d/origin.test/hosts.toml", &hosts)?;
        test(node, [&mirror, &elsewhere, &origin]).await?;
        check_log(node)
    })
    .await;
}

#[tokio::test]
async fn a_pulls_credentials_reach_the_registry_and_not_its_mirror() {
    need!();
    mirrored(async |node, [mirror, elsewhere, origin]| {
        let token = v1::AuthConfig { registry_token: "secret-token".into(), ..Default::default() };
        for (repository, auth) in
            [("basic", basic("user", "secret")), ("bearer", basic("user", "secret")), ("bearer/token", token)]
        {
            pull(node, repository, auth).await?;
            let path = format!("/v2/{repository}/x/");
            assert!(!mirror.heard(&path).is_empty(), "{repository}: the mirror was asked");
            assert!(!origin.heard(&path).is_empty(), "{repository}: the origin was asked");
        }
        let at_mirror = mirror.heard("/v2/basic/");
        assert!(at_mirror.iter().all(|head| !head.contains("authorization")), "{at_mirror:?}");
        check_has_no_secret("what the mirror heard", &mirror.heard(""));
        check_has_no_secret("what the mirror's token server heard", &elsewhere.heard(""));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_mirror_gets_the_nodes_own_credentials_for_it() {
    need!();
    mirrored(async |node, [mirror, _, origin]| {
        let own = format!(r#"{{"auths": {{"{}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}"#, mirror.address);
        write(node, "auth.json", &own)?;
        pull(node, "basic", basic("other", "hidden")).await?;
        let heard = mirror.heard("/v2/basic/");
        assert!(heard.iter().any(|head| head.contains("Basic dXNlcjpzZWNyZXQ=")), "{heard:?}");
        assert!(origin.heard("").is_empty(), "the mirror had it all");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_proxys_password_is_neither_told_nor_logged() {
    need!();
    let environment = vec![("HTTPS_PROXY", "http://joe:hidden@127.0.0.1:1")];
    node::with(node::Options { environment, ..node::Options::default() }, async |node| {
        let refused = pull(node, "any", v1::AuthConfig::default()).await.unwrap_err();
        assert!(refused.message().contains("through the proxy http://127.0.0.1:1"), "{refused}");
        check_has_no_secret("the error", &[refused.message().to_owned()]);
        // A loopback registry needs no proxy.
        node.pull("busybox").await?;
        check_log(node)
    })
    .await;
}

#[tokio::test]
async fn credentials_for_another_server_are_not_sent() {
    need!();
    mirrored(async |node, [mirror, _, origin]| {
        let auth = |server: &str| v1::AuthConfig { server_address: server.into(), ..basic("user", "secret") };
        let refused = pull(node, "basic", auth("https://other.test/v1/")).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused}");
        assert!(refused.message().contains(&origin.address), "{refused}");
        check_has_no_secret("what the origin heard", &origin.heard(""));
        let malformed = pull(node, "basic", auth("https://")).await.unwrap_err();
        assert!(malformed.message().contains("auth.server_address"), "{malformed}");
        pull(node, "basic", auth("https://origin.test")).await?;
        check_has_no_secret("what the mirror heard", &mirror.heard(""));
        Ok(())
    })
    .await;
}
