//! `auth.json` (containers-auth.json(5); Docker's config.json is the same) and credential helpers.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use linkspan_child::{Command, Stdio};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use crate::error::unquoted;
use crate::manifest::null_is_default;
use crate::reference::DEFAULT_REGISTRY;
use crate::{Credentials, Error};

/// Longest that a credential helper may take.
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);
/// What `docker login` writes for docker.io, and what helpers are asked for.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    #[serde(deserialize_with = "null_is_default")]
    auths: BTreeMap<String, Option<Entry>>,
    #[serde(deserialize_with = "null_is_default")]
    cred_helpers: BTreeMap<String, String>,
    #[serde(deserialize_with = "null_is_default")]
    creds_store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    #[serde(deserialize_with = "null_is_default")]
    auth: String,
    #[serde(deserialize_with = "null_is_default")]
    username: String,
    #[serde(deserialize_with = "null_is_default")]
    password: String,
    #[serde(deserialize_with = "null_is_default")]
    identitytoken: String,
    #[serde(deserialize_with = "null_is_default")]
    registrytoken: String,
}

/// The credentials that `path` has for `host/repository`: the longest matching key wins, a credential helper
/// named for the host before entries of the file. A file that is not there has none.
pub(crate) async fn look_up(path: &Path, host: &str, repository: &str) -> Result<Option<Credentials>, Error> {
    let bytes = match tokio::fs::read(path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("reading", path)(error)),
    };
    let bad = |reason: String| Error::BadConfig { path: path.to_owned(), reason };
    let file: File = serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("malformed: {}", unquoted(&error.to_string()))))?;
    let keys = keys(host, repository);
    if let Some((_, helper)) = keys.iter().find_map(|key| file.cred_helpers.get_key_value(key)) {
        return ask_helper(path, helper, host).await;
    }
    for key in &keys {
        let mut entries = file.auths.iter().filter_map(|(name, entry)| Some((name, entry.as_ref()?)));
        let entry = entries.find(|(name, _)| normalised(name) == *key);
        if let Some(credentials) =
            entry.map(|(name, entry)| entry.credentials(name)).transpose().map_err(bad)?
        {
            // `docker login` with a store leaves an empty entry.
            if credentials.is_some() {
                return Ok(credentials);
            }
        }
    }
    if !file.creds_store.is_empty() {
        return ask_helper(path, &file.creds_store, host).await;
    }
    Ok(None)
}

/// `host/a/b`, `host/a`, `host`.
fn keys(host: &str, repository: &str) -> Vec<String> {
    let full = format!("{host}/{repository}");
    let ends = full.match_indices('/').map(|(at, _)| at).rev();
    std::iter::once(full.len()).chain(ends).map(|end| full[..end].to_owned()).collect()
}

/// Docker's older keys are addresses: `https://index.docker.io/v1/`.
fn normalised(key: &str) -> &str {
    let Some(address) = key.strip_prefix("https://").or(key.strip_prefix("http://")) else {
        let key = key.trim_end_matches('/');
        return if key == "index.docker.io" { DEFAULT_REGISTRY } else { key };
    };
    registry_at(address.split('/').next().unwrap_or_default())
}

/// What references call the registry whose address is `host`.
fn registry_at(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" => DEFAULT_REGISTRY,
        host => host,
    }
}

/// Two names of one registry, one of them as `docker login` writes it.
pub(crate) fn same_host(one: &str, other: &str) -> bool {
    let plain = |host: &str| {
        let host = registry_at(host);
        host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase()
    };
    plain(one) == plain(other)
}

impl Entry {
    fn credentials(&self, key: &str) -> Result<Option<Credentials>, String> {
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credentials::IdentityToken(self.identitytoken.clone())));
        }
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credentials::RegistryToken(self.registrytoken.clone())));
        }
        if self.auth.is_empty() {
            let (username, password) = (self.username.clone(), self.password.clone());
            return Ok((!username.is_empty()).then_some(Credentials::Basic { username, password }));
        }
        let text = self.auth.trim();
        let decoded = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text));
        let decoded = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
        // Some tools pad the password with NUL.
        match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((username, password)) => Ok(Some(Credentials::Basic {
                username: username.to_owned(),
                password: password.trim_end_matches('\0').to_owned(),
            })),
            None => Err(format!("auths[{key:?}].auth is not base64 of user:password")),
        }
    }
}

/// Runs `docker-credential-<helper> get` (docker-credential-helpers' protocol).
async fn ask_helper(path: &Path, helper: &str, host: &str) -> Result<Option<Credentials>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = PathBuf::from(format!("docker-credential-{helper}"));
    let bad = |reason: String| Error::BadConfig {
        path: path.to_owned(),
        reason: format!("credential helper {} for {host}: {reason}", program.display()),
    };
    if helper.is_empty() || helper.contains('/') {
        return Err(bad("is no name".to_owned()));
    }
    let run = async {
        let mut child = Command::new(&program)
            .arg("get")
            .stdin(Stdio::Piped)
            .stdout(Stdio::Piped)
            .stderr(Stdio::Piped)
            .kill_on_drop(true)
            .spawn()?;
        let server = if host == DEFAULT_REGISTRY { DOCKER_HUB_KEY } else { host };
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read is no failure of its own.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(HELPER_TIMEOUT, run).await;
    let output = output.map_err(|_| bad("timed out".to_owned()))?.map_err(|error| bad(error.to_string()))?;
    if !output.status.success() {
        let words = [output.stdout, output.stderr].concat();
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        if words.contains("credentials not found") {
            return Ok(None);
        }
        return Err(bad(format!("{}: {words}", output.status)));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|error| bad(format!("malformed answer: {}", unquoted(&error.to_string()))))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::IdentityToken(answer.secret),
        _ => Credentials::Basic { username: answer.username, password: answer.secret },
    }))
}

#[cfg(test)]
mod tests;
