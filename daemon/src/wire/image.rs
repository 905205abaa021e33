//! Images, their names, and credentials for their registries.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use linkspan_cri_api::v1;
use linkspan_image::{Credentials, FsUsage, Image, ImageConfig, RequestCredentials};
use linkspan_pod_sandbox::model::{ImageSpec, Timestamp};
use linkspan_runtime_oci::user::{Account, UserText};
use serde_json::json;

use super::field::{BadField, not_empty, required};

/// Clients differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(crate) fn spec(wire: v1::ImageSpec) -> ImageSpec {
    ImageSpec {
        image: wire.image,
        annotations: wire.annotations,
        user_specified_image: wire.user_specified_image,
        runtime_handler: wire.runtime_handler,
        image_ref: wire.image_ref,
    }
}

/// A spec that must name an image; the caller says inside which field.
pub(crate) fn named_spec(wire: Option<v1::ImageSpec>) -> Result<ImageSpec, BadField> {
    let mut spec = spec(wire.unwrap_or_default());
    spec.image = not_empty(spec.image, "image")?;
    Ok(spec)
}

pub(crate) fn spec_to_wire(model: ImageSpec) -> v1::ImageSpec {
    v1::ImageSpec {
        image: model.image,
        annotations: model.annotations,
        user_specified_image: model.user_specified_image,
        runtime_handler: model.runtime_handler,
        image_ref: model.image_ref,
    }
}

/// The name that a request's `image` must carry.
pub(crate) fn name(wire: Option<v1::ImageSpec>) -> Result<String, BadField> {
    not_empty(required(wire, "image")?.image, "image.image")
}

/// `None`: nothing was sent, so the node's own credentials apply.
pub(crate) fn credentials(wire: Option<v1::AuthConfig>) -> Result<Option<RequestCredentials>, BadField> {
    let Some(wire) = wire else { return Ok(None) };
    let server = server(&wire.server_address)?;
    let credentials = secret(wire)?;
    Ok(credentials.map(|credentials| RequestCredentials { credentials, server }))
}

/// The host of `server_address`, which clients write as an address (`https://index.docker.io/v1/`) or as a bare host.
fn server(address: &str) -> Result<Option<String>, BadField> {
    let address = address.trim();
    if address.is_empty() {
        return Ok(None);
    }
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err(BadField::new("auth.server_address", "no host in it"));
    }
    Ok(Some(host.to_ascii_lowercase()))
}

fn secret(wire: v1::AuthConfig) -> Result<Option<Credentials>, BadField> {
    if !wire.registry_token.is_empty() {
        return Ok(Some(Credentials::RegistryToken(wire.registry_token)));
    }
    if !wire.identity_token.is_empty() {
        return Ok(Some(Credentials::IdentityToken(wire.identity_token)));
    }
    if !wire.username.is_empty() {
        return Ok(Some(Credentials::Basic { username: wire.username, password: wire.password }));
    }
    if wire.auth.is_empty() {
        return Ok(None);
    }
    let bad = |reason| BadField::new("auth.auth", reason);
    let bytes = BASE64.decode(wire.auth.trim()).map_err(|_| bad("not base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| bad("not UTF-8 inside the base64"))?;
    // Old Docker clients pad the password with NUL bytes.
    let (username, password) =
        text.trim_end_matches('\0').split_once(':').ok_or_else(|| bad("no colon inside the base64"))?;
    Ok(Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() }))
}

pub(crate) fn image(model: &Image) -> v1::Image {
    let (uid, username) = user(&model.config.user);
    let named = model.repo_tags.first().or_else(|| model.repo_digests.first());
    v1::Image {
        id: model.id.to_string(),
        repo_tags: model.repo_tags.clone(),
        repo_digests: model.repo_digests.clone(),
        size: model.size_bytes,
        uid,
        username,
        spec: Some(v1::ImageSpec {
            image: named.cloned().unwrap_or_else(|| model.id.to_string()),
            ..v1::ImageSpec::default()
        }),
        pinned: model.pinned,
    }
}

/// By what the kubelet judges `runAsNonRoot`: a number, or a name of which it cannot know the number. What is neither is
/// shown whole in a name's place, so that it is refused there, as it is at create. Nothing at all is root.
fn user(text: &str) -> (Option<v1::Int64Value>, String) {
    match UserText::parse(text).map(|parsed| parsed.user) {
        Ok(Some(Account::Id(uid))) => (Some(v1::Int64Value { value: uid.into() }), String::new()),
        Ok(Some(Account::Name(name))) => (None, name.to_owned()),
        Ok(None) => (None, String::new()),
        Err(_) => (None, text.to_owned()),
    }
}

/// `info` of ImageStatus(verbose), in the form that `crictl inspecti` prints and tools read.
pub(crate) fn verbose(model: &Image) -> String {
    let ImageConfig { labels, architecture, os, .. } = &model.config;
    // As pulled, so that fields we do not know are shown too.
    let config = serde_json::from_slice::<serde_json::Value>(&model.config_json).unwrap_or_default();
    json!({ "labels": labels, "architecture": architecture, "os": os, "imageSpec": config }).to_string()
}

pub(crate) fn fs_usage(model: FsUsage) -> v1::FilesystemUsage {
    v1::FilesystemUsage {
        timestamp: Timestamp::now().0,
        fs_id: Some(v1::FilesystemIdentifier { mountpoint: model.mountpoint.display().to_string() }),
        used_bytes: Some(v1::UInt64Value { value: model.used_bytes }),
        inodes_used: Some(v1::UInt64Value { value: model.inodes_used }),
    }
}
