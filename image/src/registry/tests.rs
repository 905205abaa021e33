use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::{Places, Session, Settings, Transport};
use crate::manifest::Descriptor;
use crate::{Credentials, Digest, Error, Reference};

mod auth;
mod content;
mod mirrors;
mod plain;
mod proxies;
mod redirects;
pub(crate) mod server;
mod trust;

use server::{Answer, Seen, Server};

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;

pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        places: Places { containers_dir: dir.to_owned(), certs_dirs: Vec::new() },
        auth_file: dir.join("auth.json"),
        lends_to_mirrors: false,
        progress_timeout: Duration::from_secs(20),
        transport: Transport::default(),
    }
}

/// A session with nothing configured.
async fn session(reference: Reference, credentials: Option<Credentials>) -> Arc<Session> {
    let credentials = credentials.map(Into::into);
    let dir = tempfile::tempdir().unwrap();
    Arc::new(Session::open(&settings(dir.path()), reference, credentials).await.unwrap())
}

async fn manifest(server: &Server, credentials: Option<Credentials>) -> Result<String, Error> {
    let session = session(server.reference("team/app:v1"), credentials).await;
    session.manifest().await.map(|fetched| String::from_utf8(fetched.bytes.to_vec()).unwrap())
}

fn basic() -> Option<Credentials> {
    Some(Credentials::Basic { username: "joe".to_owned(), password: "secret".to_owned() })
}

fn descriptor(content: &[u8]) -> Descriptor {
    serde_json::from_value(json!({"digest": Digest::of(content), "size": content.len()})).unwrap()
}

/// Everything that the blob stream gives.
async fn read(session: &Arc<Session>, content: &[u8]) -> Result<Vec<u8>, Error> {
    let mut blob = session.blob(&descriptor(content), 0);
    let mut whole = Vec::new();
    while let Some(bytes) = blob.next().await? {
        whole.extend_from_slice(&bytes);
    }
    Ok(whole)
}
