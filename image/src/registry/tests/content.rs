use std::time::Duration;

use super::{Answer, Digest, Error, MANIFEST, Reference, Server, Session, manifest, read, session, settings};

const BLOB: &[u8] = b"The quick brown fox jumps over the lazy dog";

#[tokio::test]
async fn a_missing_manifest_is_not_found_and_not_asked_for_twice() {
    let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    let server = Server::start(|_| Answer::status(404, body)).await;
    let error = manifest(&server, None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("manifest unknown") && text.contains(&server.address.to_string()), "{text}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn trouble_that_passes_is_ridden_out() {
    for (status, header) in [(500, "x-none"), (429, "retry-after"), (503, "retry-after")] {
        let server = Server::start(move |seen| match seen.earlier {
            0 => Answer::status(status, "busy").header(header, "0"),
            _ => Answer::ok(MANIFEST),
        })
        .await;
        assert_eq!(manifest(&server, None).await.unwrap(), MANIFEST, "after {status}");
        assert_eq!(server.seen().len(), 2);
    }
}

#[tokio::test]
async fn a_wait_longer_than_a_minute_is_left_to_the_caller() {
    let server =
        Server::start(|_| Answer::status(429, "toomanyrequests: slow down").header("retry-after", "7200"))
            .await;
    let error = manifest(&server, None).await.unwrap_err();
    assert!(matches!(error, Error::RegistryUnavailable { .. }), "{error}");
    assert!(error.to_string().contains("429 Too Many Requests: toomanyrequests: slow down"), "{error}");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_manifest_is_checked_against_every_digest_that_is_known() {
    let other = Digest::of(b"other");
    let server = Server::start(|_| Answer::ok(MANIFEST)).await;
    let pinned: Reference = format!("{}/a@{other}", server.address).parse().unwrap();
    let error = session(pinned, None).await.manifest().await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");

    let promised = other.to_string();
    let server =
        Server::start(move |_| Answer::ok(MANIFEST).header("docker-content-digest", promised.clone())).await;
    assert!(matches!(manifest(&server, None).await, Err(Error::DigestMismatch { .. })));
}

#[tokio::test]
async fn sha512_digests_are_honoured() {
    let digest = Digest::of_with(crate::Algorithm::Sha512, MANIFEST.as_bytes());
    let server = Server::start(|_| Answer::ok(MANIFEST)).await;
    let pinned: Reference = format!("{}/a@{digest}", server.address).parse().unwrap();
    assert_eq!(session(pinned, None).await.manifest().await.unwrap().digest, digest);
}

#[tokio::test]
async fn an_endless_manifest_is_refused() {
    let server = Server::start(|_| Answer::ok(vec![b' '; (8 << 20) + 1])).await;
    let error = manifest(&server, None).await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let server = Server::start(|seen| match seen.earlier {
        0 => Answer::ok(BLOB).broken_after(10),
        1 => Answer::ranged(BLOB, seen).broken_after(5),
        _ => Answer::ranged(BLOB, seen),
    })
    .await;
    let session = session(server.reference("a:1"), None).await;
    assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
    let ranges: Vec<_> = server.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=10-".to_owned()), Some("bytes=15-".to_owned())]);
}

#[tokio::test]
async fn a_server_without_ranges_sends_the_start_again() {
    let server = Server::start(|seen| match seen.earlier {
        0 => Answer::ok(BLOB).broken_after(10),
        _ => Answer::ok(BLOB),
    })
    .await;
    let session = session(server.reference("a:1"), None).await;
    assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_refused() {
    let server = Server::start(|seen| match seen.earlier {
        0 => Answer::ok(BLOB).broken_after(10),
        _ => Answer::status(206, "xx").header("content-range", "bytes 3-4/43"),
    })
    .await;
    let session = session(server.reference("a:1"), None).await;
    let error = read(&session, BLOB).await.unwrap_err();
    assert!(matches!(error, Error::RegistryUnavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_blob_longer_or_shorter_than_its_descriptor_is_refused() {
    let server = Server::start(|_| Answer::ok([BLOB, b"x"].concat())).await;
    let longer = session(server.reference("a:1"), None).await;
    assert!(matches!(read(&longer, BLOB).await, Err(Error::SizeMismatch { .. })));
    let server = Server::start(|seen| match seen.header("range") {
        None => Answer::ok(&BLOB[..9]),
        Some(_) => Answer::status(416, ""),
    })
    .await;
    let shorter = session(server.reference("a:1"), None).await;
    assert!(read(&shorter, BLOB).await.is_err());
}

#[tokio::test]
async fn redirects_are_followed_and_credentials_stay_at_home() {
    let store = Server::start(|seen| match (seen.header("authorization"), seen.header("range")) {
        (Some(_), _) => Answer::status(400, "signed address with credentials"),
        (None, Some(_)) => Answer::ranged(BLOB, seen),
        (None, None) => Answer::ok(BLOB).broken_after(4),
    })
    .await;
    let target = format!("http://localhost:{}/bucket?signature=abc", store.address.port());
    let server = Server::start(move |seen| match seen.header("authorization") {
        Some("Bearer mine") if seen.path.starts_with("/v2/") => {
            Answer::status(307, "").header("location", "/moved")
        }
        Some("Bearer mine") => Answer::status(302, "").header("location", target.clone()),
        _ => Answer::status(401, ""),
    })
    .await;
    let credentials = Some(crate::Credentials::RegistryToken("mine".to_owned()));
    let session = session(server.reference("a:1"), credentials).await;
    assert_eq!(read(&session, BLOB).await.unwrap(), BLOB);
    assert_eq!(store.seen()[0].query, "signature=abc");
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::start(|seen| Answer::status(302, "").header("location", seen.path.clone())).await;
    let error = manifest(&server, None).await.unwrap_err();
    assert!(error.to_string().contains("redirects"), "{error}");
}

/// Sends with little patience to one that falls silent after `sent` bytes.
async fn impatient(sent: usize) -> (Server, Result<Vec<u8>, Error>) {
    let server = Server::start(move |seen| match seen.header("range") {
        None => Answer::ok(BLOB).silent_after(sent),
        Some(_) => Answer::ranged(BLOB, seen).silent_after(0),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let settings = super::Settings { progress_timeout: Duration::from_millis(200), ..settings(dir.path()) };
    let session = Session::open(&settings, server.reference("a:1"), None).await.unwrap();
    let result = read(&std::sync::Arc::new(session), BLOB).await;
    (server, result)
}

#[tokio::test]
async fn silence_is_given_up_after_one_more_connection() {
    let (server, result) = impatient(7).await;
    let error = result.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(error.to_string().contains("after byte 7"), "{error}");
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_refused_connection_is_unavailable_and_names_the_host() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reference: Reference = format!("{address}/a:1").parse().unwrap();
    let error = session(reference, None).await.manifest().await.unwrap_err();
    assert!(matches!(error, Error::RegistryUnavailable { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains(&format!("http://{address}/v2/a/manifests/1")) && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn the_digest_of_a_tag_is_told_without_its_content() {
    let digest = Digest::of(MANIFEST.as_bytes());
    let told = digest.to_string();
    let server = Server::start(move |seen| match seen.method.as_str() {
        "HEAD" => Answer::ok("").header("docker-content-digest", told.clone()),
        _ => Answer::status(500, ""),
    })
    .await;
    assert_eq!(session(server.reference("a:1"), None).await.head().await, Some(digest));
    let server = Server::start(|_| Answer::status(405, "")).await;
    assert_eq!(session(server.reference("a:1"), None).await.head().await, None);
}
