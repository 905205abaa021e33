//! A scripted registry: the first part of a repository's name says how it misbehaves.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use crate::images::layer::digest_of;
use crate::images::tar::{Entry, TarWriter};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// One image under every repository name; serves until dropped.
#[derive(Debug)]
pub struct FaultRegistry {
    pub address: String,
    script: Arc<Script>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Script {
    blobs: HashMap<String, Bytes>,
    layer: String,
    manifest: Bytes,
    /// Where the repositories that want a token send for it.
    realm: String,
    /// Requests so far, by `METHOD path`.
    seen: Mutex<HashMap<String, u32>>,
    /// The same in full, one after the other: what a curious registry would keep.
    heard: Mutex<Vec<String>>,
}

impl FaultRegistry {
    pub async fn start() -> Result<FaultRegistry> {
        Self::start_with(None).await
    }

    /// Tokens for it come from the server at `realm`, `host:port`.
    pub async fn start_with_realm(realm: &str) -> Result<FaultRegistry> {
        Self::start_with(Some(realm)).await
    }

    async fn start_with(realm: Option<&str>) -> Result<FaultRegistry> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let script = Arc::new(Script::new(realm.unwrap_or(&address))?);
        let serving = script.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let script = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let script = script.clone();
                        async move { Ok::<_, Infallible>(script.answer(&request)) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Ok(FaultRegistry { address, script, task })
    }

    /// Lines of `registries.conf` under which the names of `host` come here.
    pub fn configuration(&self, host: &str) -> String {
        format!("[[registry]]\nprefix = \"{host}\"\nlocation = \"{}\"\ninsecure = true\n", self.address)
    }

    /// All that clients said, of requests whose path begins with `path`.
    pub fn heard(&self, path: &str) -> Vec<String> {
        let heard = self.script.heard.lock().unwrap();
        heard
            .iter()
            .filter(|head| head.split(' ').nth(1).is_some_and(|p| p.starts_with(path)))
            .cloned()
            .collect()
    }

    /// How often blobs of the image's layer were asked for in `repository`.
    pub fn layer_requests(&self, repository: &str) -> u32 {
        let key = format!("GET /v2/{repository}/blobs/{}", self.script.layer);
        self.script.seen.lock().unwrap().get(&key).copied().unwrap_or(0)
    }
}

impl Drop for FaultRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    fn new(realm: &str) -> Result<Script> {
        let mut tar = TarWriter::new(Vec::new());
        tar.entries(&[Entry::directory("etc/", 0o755), Entry::file("etc/note", 0o644, vec![b'x'; 200_000])])?;
        let tar = tar.finish()?;
        let diff_id = digest_of(&tar);
        // Stored, so that half of it is half of the data.
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        gzip.write_all(&tar)?;
        let layer_bytes = gzip.finish()?;
        let layer = digest_of(&layer_bytes);
        let config = json!({
            "architecture": crate::images::image::architecture(), "os": "linux", "config": { "Cmd": ["/none"] },
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        })
        .to_string()
        .into_bytes();
        let config_digest = digest_of(&config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len() },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": layer_bytes.len() }],
        });
        Ok(Script {
            realm: format!("http://{realm}/token"),
            blobs: [(config_digest, config.into()), (layer.clone(), layer_bytes.into())].into(),
            layer,
            manifest: manifest.to_string().into(),
            seen: Mutex::default(),
            heard: Mutex::default(),
        })
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let headers: Vec<String> = request
            .headers()
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        self.heard.lock().unwrap().push(format!(
            "{} {} {}",
            request.method(),
            request.uri(),
            headers.join(", ")
        ));
        let count = {
            let mut seen = self.seen.lock().unwrap();
            let count = seen.entry(format!("{} {path}", request.method())).or_default();
            *count += 1;
            *count
        };
        if path == "/token" {
            let known = authorization(request).starts_with("Basic ");
            let body = json!({ "token": if known { "secret-token" } else { "anonymous" } }).to_string();
            return respond(StatusCode::OK, body);
        }
        let Some(rest) = path.strip_prefix("/v2/").filter(|rest| !rest.is_empty()) else {
            return respond(StatusCode::OK, "{}");
        };
        let fault = rest.split('/').next().unwrap_or_default();
        if let Some(denied) = self.denied(fault, request) {
            return denied;
        }
        if let Some((_, reference)) = rest.split_once("/manifests/") {
            return self.manifest(fault, reference, count, request);
        }
        match rest.split_once("/blobs/") {
            Some((_, digest)) => self.blob(fault, digest, count),
            None => respond(StatusCode::NOT_FOUND, "no such path"),
        }
    }

    fn denied(&self, fault: &str, request: &Request<Incoming>) -> Option<Response<Body>> {
        let given = authorization(request);
        let (wanted, challenge) = match fault {
            // user:secret
            "basic" => ("Basic dXNlcjpzZWNyZXQ=", "Basic realm=\"here\"".to_owned()),
            "bearer" => (
                "Bearer secret-token",
                format!("Bearer realm=\"{}\",service=\"here\",scope=\"repository:x:pull\"", self.realm),
            ),
            "anonymous" => ("Bearer anonymous", format!("Bearer realm=\"{}\",service=\"here\"", self.realm)),
            _ => return None,
        };
        (given != wanted).then(|| {
            let mut response = respond(StatusCode::UNAUTHORIZED, "who are you?");
            if let Ok(challenge) = challenge.parse() {
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            response
        })
    }

    fn manifest(
        &self,
        fault: &str,
        reference: &str,
        count: u32,
        request: &Request<Incoming>,
    ) -> Response<Body> {
        match fault {
            "missing" => {
                return respond(StatusCode::NOT_FOUND, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
            }
            "forbidden" => return respond(StatusCode::FORBIDDEN, "not you"),
            "broken" => return respond(StatusCode::INTERNAL_SERVER_ERROR, "out of order"),
            "garbage" => return respond(StatusCode::OK, "<html>not a manifest</html>"),
            "recovers" if count <= 2 => return respond(StatusCode::BAD_GATEWAY, "come back later"),
            "throttled" if count <= 2 => {
                let mut response = respond(StatusCode::TOO_MANY_REQUESTS, "not so fast");
                response.headers_mut().insert(RETRY_AFTER, http::HeaderValue::from_static("1"));
                return response;
            }
            _ => {}
        }
        let digest = digest_of(&self.manifest);
        if reference.starts_with("sha256:") && reference != digest {
            return respond(StatusCode::NOT_FOUND, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
        }
        let body = if request.method() == http::Method::HEAD { Bytes::new() } else { self.manifest.clone() };
        let mut response = respond(StatusCode::OK, body);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            http::HeaderValue::from_static("application/vnd.oci.image.manifest.v1+json"),
        );
        if let Ok(digest) = digest.parse() {
            headers.insert("docker-content-digest", digest);
        }
        response
    }

    fn blob(&self, fault: &str, digest: &str, count: u32) -> Response<Body> {
        let Some(bytes) = self.blobs.get(digest) else {
            return respond(StatusCode::NOT_FOUND, "no such blob");
        };
        if digest != self.layer {
            return respond(StatusCode::OK, bytes.clone());
        }
        let half = bytes.len() / 2;
        match fault {
            "gone" => respond(StatusCode::NOT_FOUND, "no such blob"),
            "wrong" => {
                let mut wrong = bytes.to_vec();
                wrong[half] ^= 1;
                respond(StatusCode::OK, wrong)
            }
            "longer" => respond(StatusCode::OK, [bytes.as_ref(), b"more"].concat()),
            "redirect" => moved(&format!("/v2/elsewhere/x/blobs/{digest}")),
            "circle" => moved(&format!("/v2/circle/x/blobs/{digest}")),
            // The connection ends in the middle, always or once.
            "truncated" => cut(bytes.slice(..half), bytes.len(), false),
            "hiccup" if count == 1 => cut(bytes.slice(..half), bytes.len(), false),
            // The connection stays, and nothing comes any more.
            "stalls" => cut(bytes.slice(..half), bytes.len(), true),
            "slow" => slowly(bytes),
            _ => respond(StatusCode::OK, bytes.clone()),
        }
    }
}

fn authorization(request: &Request<Incoming>) -> String {
    let header = request.headers().get("authorization");
    header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn moved(to: &str) -> Response<Body> {
    let mut response = respond(StatusCode::TEMPORARY_REDIRECT, "");
    if let Ok(to) = to.parse() {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

/// Promises `length` bytes, gives `part`, and then an error or nothing for ever.
fn cut(part: Bytes, length: usize, stall: bool) -> Response<Body> {
    let first = stream::iter([Ok(Frame::data(part))]);
    let rest = stream::once(async move {
        if stall {
            std::future::pending::<()>().await;
        }
        Err(std::io::Error::other("cut"))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(first.chain(rest))));
    response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    response
}

/// A hundred pieces, one every 20 ms.
fn slowly(bytes: &Bytes) -> Response<Body> {
    let size = bytes.len().div_ceil(100);
    let pieces: Vec<Bytes> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    let interval = tokio::time::interval(Duration::from_millis(20));
    let body = stream::unfold((pieces.into_iter(), interval), async |(mut pieces, mut interval)| {
        interval.tick().await;
        let piece = pieces.next()?;
        Some((Ok::<_, std::io::Error>(Frame::data(piece)), (pieces, interval)))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(body)));
    response.headers_mut().insert(http::header::CONTENT_LENGTH, bytes.len().into());
    response
}
