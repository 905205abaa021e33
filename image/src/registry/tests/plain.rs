//! Registries that may speak TLS or not, and what they are told before that is known.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::mirrors::write;
use super::server::Spoken;
use super::{Answer, Credentials, Error, MANIFEST, Server, Session, settings};

const TOKEN: &str = "token-of-joe";

/// With `insecure = true`, a registry token, and a configured header.
async fn ask(address: &str, dir: &Path) -> Result<String, Error> {
    let conf = format!("[[registry]]\nlocation = \"{address}\"\ninsecure = true\n");
    write(dir, "registries.conf", &conf);
    let token = Credentials::RegistryToken(TOKEN.to_owned());
    let settings = super::Settings { progress_timeout: Duration::from_millis(500), ..settings(dir) };
    let reference = format!("{address}/app:v1").parse().unwrap();
    let session = Session::open(&settings, reference, Some(token.into())).await.unwrap();
    session.manifest().await.map(|fetched| String::from_utf8(fetched.bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_dropped_connection_does_not_turn_tls_into_plain_http() {
    for drops in [1, 3] {
        let server = Server::start_tls(drops, |_| Answer::ok(MANIFEST)).await;
        let dir = tempfile::tempdir().unwrap();
        let answer = ask(&server.address.to_string(), dir.path()).await;
        assert_eq!(answer.unwrap(), MANIFEST, "after {drops} dropped connections");
        assert!(server.has_seen(TOKEN));
        let spoken = server.spoken();
        assert!(spoken.len() > drops && spoken.iter().all(|spoken| *spoken == Spoken::Tls), "{spoken:?}");
    }
}

#[tokio::test]
async fn a_silent_registry_is_not_asked_in_plain() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (first_bytes, kept) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<Vec<_>>>::default());
    let noted = first_bytes.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (noted, kept) = (noted.clone(), kept.clone());
            tokio::spawn(async move {
                let mut first = [0];
                if let Ok(1) = stream.peek(&mut first).await {
                    noted.lock().unwrap().push(first[0]);
                }
                kept.lock().unwrap().push(stream);
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let error = ask(&address, dir.path()).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    let first_bytes = first_bytes.lock().unwrap().clone();
    assert!(!first_bytes.is_empty() && first_bytes.iter().all(|byte| *byte == 22), "{first_bytes:?}");
}

#[tokio::test]
async fn a_plain_registry_gets_no_secret_before_it_has_answered() {
    let server = Server::start(|seen| match seen.header("authorization") {
        Some("Bearer token-of-joe") => Answer::ok(MANIFEST),
        _ => Answer::status(401, ""),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(ask(&server.address.to_string(), dir.path()).await.unwrap(), MANIFEST);
    let sent: Vec<_> = server.seen().iter().map(|seen| seen.header("authorization").is_some()).collect();
    assert_eq!(sent, [false, true]);
}

/// nginx, Go and others answer plain HTTP on a port of TLS so.
#[tokio::test]
async fn an_answer_of_a_tls_server_to_plain_http_is_no_proof_of_plain_http() {
    let answers = [
        Answer::status(400, "The plain HTTP request was sent to HTTPS port"),
        Answer::status(308, "").header("location", "https://127.0.0.1:1/v2/app/manifests/v1"),
    ];
    for answer in answers {
        let server = Server::start(move |_| answer.clone()).await;
        let dir = tempfile::tempdir().unwrap();
        let error = ask(&server.address.to_string(), dir.path()).await.unwrap_err();
        assert!(matches!(error, Error::RegistryUnavailable { .. }), "{error}");
        assert!(error.to_string().contains(&server.address.to_string()), "{error}");
        assert!(!server.seen().is_empty());
        assert!(!server.has_seen(TOKEN), "{:?}", server.seen());
    }
}
