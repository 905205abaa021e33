use std::path::Path;
use std::sync::Arc;

use super::{Answer, Credentials, Error, MANIFEST, Reference, Server, Session, basic, read, settings};

const BLOB: &[u8] = b"a blob that both have";

pub(super) fn write(dir: &Path, path: &str, text: &str) {
    let path = dir.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

pub(super) async fn open(dir: &Path, reference: &str, credentials: Option<Credentials>) -> Arc<Session> {
    let reference: Reference = reference.parse().unwrap();
    let credentials = credentials.map(Into::into);
    Arc::new(Session::open(&settings(dir), reference, credentials).await.unwrap())
}

#[tokio::test]
async fn hosts_toml_sends_to_mirrors_in_order_with_the_namespace() {
    let broken = Server::start(|_| Answer::status(404, "")).await;
    let good = Server::start(|_| Answer::ok(MANIFEST)).await;
    let dir = tempfile::tempdir().unwrap();
    let toml = format!(
        "server = \"http://{0}\"\n[host.\"http://{1}\"]\n[host.\"http://{1}\".header]\nx-key = [\"a\", \"b\"]\n\
         [host.\"http://{0}/sub\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        good.address, broken.address
    );
    write(dir.path(), "certs.d/registry.example/hosts.toml", &toml);
    open(dir.path(), "registry.example/team/app:v1", None).await.manifest().await.unwrap();
    let first = &broken.seen()[0];
    assert_eq!(
        (first.path.as_str(), first.query.as_str()),
        ("/v2/team/app/manifests/v1", "ns=registry.example")
    );
    assert_eq!(first.headers.get_all("x-key").iter().count(), 2);
    assert_eq!(good.seen()[0].path, "/sub/v2/team/app/manifests/v1");
    assert_eq!(good.seen()[0].header("x-key"), None, "headers are the first mirror's own");
}

#[tokio::test]
async fn a_mirror_without_resolve_serves_content_but_not_tags() {
    let mirror = Server::start(|_| Answer::ok(BLOB)).await;
    let origin = Server::start(|seen| match seen.path.contains("/blobs/") {
        true => Answer::ok(BLOB),
        false => Answer::ok(MANIFEST),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let toml = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        origin.address, mirror.address
    );
    write(dir.path(), "certs.d/_default/hosts.toml", &toml);
    let session = open(dir.path(), "registry.example/app:v1", None).await;
    session.manifest().await.unwrap();
    assert!(mirror.seen().is_empty());
    for _ in 0..3 {
        assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
    }
    assert_eq!(
        (mirror.seen().len(), origin.seen().len()),
        (3, 1),
        "content comes from the mirror, tags do not"
    );
}

#[tokio::test]
async fn a_mirror_that_fails_is_asked_last_for_the_rest_of_the_pull() {
    let mirror = Server::start(|_| Answer::status(404, "")).await;
    let origin = Server::start(|_| Answer::ok(BLOB)).await;
    let dir = tempfile::tempdir().unwrap();
    let toml = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        origin.address, mirror.address
    );
    write(dir.path(), "certs.d/registry.example/hosts.toml", &toml);
    let session = open(dir.path(), "registry.example/app:v1", None).await;
    for _ in 0..3 {
        assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
    }
    assert_eq!((mirror.seen().len(), origin.seen().len()), (1, 3));
}

/// In a cluster without a way out the origin does not even refuse.
#[tokio::test]
async fn a_pinned_image_is_checked_at_the_mirror_that_has_it() {
    let digest = crate::Digest::of(MANIFEST.as_bytes());
    let told = digest.to_string();
    let mirror = Server::start(move |_| Answer::ok("").header("docker-content-digest", told.clone())).await;
    let origin = Server::start(|_| Answer::status(503, "no way out")).await;
    let dir = tempfile::tempdir().unwrap();
    let conf = format!(
        "[[registry]]\nprefix = \"r.example\"\nlocation = \"{}\"\ninsecure = true\nmirror-by-digest-only = true\n\
         [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
        origin.address, mirror.address
    );
    write(dir.path(), "registries.conf", &conf);
    let pinned = open(dir.path(), &format!("r.example/app@{digest}"), None).await;
    assert_eq!(pinned.head().await, Some(digest));
    assert_eq!((mirror.seen().len(), origin.seen().len()), (1, 0));
    let tagged = open(dir.path(), "r.example/app:v1", None).await;
    let _ = tagged.head().await;
    assert_eq!(mirror.seen().len(), 1, "it is not asked about tags");
    assert!(!origin.seen().is_empty());
}

#[tokio::test]
async fn registries_conf_rewrites_names_and_falls_through() {
    let down = Server::start(|_| Answer::status(404, "")).await;
    let origin = Server::start(|seen| match seen.path.contains("/blobs/") {
        true => Answer::ok(BLOB),
        false => Answer::ok(MANIFEST),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let conf = format!(
        "[[registry]]\nprefix = \"quay.example/team\"\nlocation = \"{}/moved\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{}/cache\"\ninsecure = true\n",
        origin.address, down.address
    );
    write(dir.path(), "registries.conf.d/10-test.conf", &conf);
    let session = open(dir.path(), "quay.example/team/app:v1", None).await;
    session.manifest().await.unwrap();
    assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
    let asked = &down.seen()[0];
    assert_eq!((asked.path.as_str(), asked.query.as_str()), ("/v2/cache/app/manifests/v1", ""));
    assert_eq!(origin.seen()[0].path, "/v2/moved/app/manifests/v1");
    assert_eq!(down.seen().len(), 1, "the host that answered is asked first for blobs");
}

#[tokio::test]
async fn a_download_moves_to_the_next_host_in_the_middle() {
    let mirror = Server::start(|_| Answer::ok(BLOB).broken_after(8)).await;
    let origin = Server::start(|seen| Answer::ranged(BLOB, seen)).await;
    let dir = tempfile::tempdir().unwrap();
    let toml = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", origin.address, mirror.address);
    write(dir.path(), "certs.d/registry.example/hosts.toml", &toml);
    let session = open(dir.path(), "registry.example/app:v1", None).await;
    assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
    assert!(origin.seen()[0].header("range").is_some_and(|range| range != "bytes=0-"));
}

#[tokio::test]
async fn all_hosts_are_named_when_none_has_it() {
    let mirror = Server::start(|_| Answer::status(401, "")).await;
    let origin = Server::start(|_| Answer::status(404, "no such name")).await;
    let dir = tempfile::tempdir().unwrap();
    let toml = format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", origin.address, mirror.address);
    write(dir.path(), "certs.d/registry.example/hosts.toml", &toml);
    let error = open(dir.path(), "registry.example/app:v1", None).await.manifest().await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let text = error.to_string();
    for part in [&mirror.address.to_string(), &origin.address.to_string(), "401", "404", "no such name"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[tokio::test]
async fn a_mirrors_own_credentials_go_before_the_requests() {
    let mirror = Server::start(|seen| match seen.header("authorization") {
        Some("Basic bWlycm9yOnB3") => Answer::ok(MANIFEST),
        _ => Answer::status(401, "").header("www-authenticate", "Basic"),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let auths = serde_json::json!({"auths": {mirror.address.to_string(): {"auth": "bWlycm9yOnB3"}}});
    write(dir.path(), "auth.json", &auths.to_string());
    let toml = format!("[host.\"http://{}\"]\n", mirror.address);
    write(dir.path(), "certs.d/registry.example/hosts.toml", &toml);
    open(dir.path(), "registry.example/app:v1", basic()).await.manifest().await.unwrap();
}
