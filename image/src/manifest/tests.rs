use serde_json::json;

use super::{ConfigFile, DOCKER_LIST, DOCKER_MANIFEST, Document, Index, OCI_INDEX, OCI_MANIFEST, Platform};
use crate::{Digest, ImageConfig};

fn parse(value: &serde_json::Value, content_type: &str) -> Result<Document, String> {
    Document::parse(value.to_string().as_bytes(), content_type, "test").map_err(|error| error.to_string())
}

fn digest(name: &str) -> String {
    Digest::of(name.as_bytes()).to_string()
}

fn platform(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Platform { os: next(), architecture: next(), variant: next() }
}

fn index_of(platforms: &[&str]) -> Index {
    let entries: Vec<_> = platforms
        .iter()
        .map(|text| match *text {
            "" => json!({"digest": digest(text), "size": 1}),
            _ => json!({"digest": digest(text), "size": 1, "platform": platform(text)}),
        })
        .collect();
    match parse(&json!({"schemaVersion": 2, "manifests": entries}), "").unwrap() {
        Document::Index(index) => index,
        Document::Manifest(_) => panic!("not an index"),
    }
}

/// From `offered`, a host like `host` takes `expected`.
fn choose(host: &str, offered: &[&str], expected: Option<&str>) {
    let index = index_of(offered);
    let chosen = index.choose(&platform(host)).map(|entry| entry.digest.to_string());
    assert_eq!(chosen, expected.map(digest), "{host} from {offered:?}");
}

#[test]
fn null_means_empty_everywhere() {
    let manifest = json!({
        "schemaVersion": 2, "mediaType": null, "layers": null, "annotations": null,
        "config": {"mediaType": null, "digest": digest("c"), "size": null, "urls": null, "annotations": null},
    });
    let Document::Manifest(manifest) = parse(&manifest, "").unwrap() else { panic!("not a manifest") };
    assert!(manifest.layers.is_empty());
    assert_eq!(parse(&json!({"manifests": null}), OCI_INDEX).map(|_| ()), Ok(()));
}

#[test]
fn the_documents_own_media_type_wins_then_the_header_then_the_shape() {
    let config = json!({"digest": digest("c"), "size": 2});
    let is_index = |value: &_, header: &str| matches!(parse(value, header), Ok(Document::Index(_)));
    assert!(is_index(&json!({"mediaType": DOCKER_LIST, "manifests": []}), OCI_MANIFEST));
    assert!(is_index(&json!({"manifests": []}), "application/json; charset=utf-8"));
    assert!(!is_index(&json!({"mediaType": DOCKER_MANIFEST, "config": config}), DOCKER_LIST));
    assert!(!is_index(&json!({"config": config, "layers": []}), "text/plain"));
}

#[test]
fn what_cannot_be_an_image_is_refused() {
    let refused = |value: &_, why: &str| {
        let error = parse(value, "").unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(&json!({"schemaVersion": 1, "fsLayers": []}), "schema 1");
    refused(&json!({"manifests": [], "layers": []}), "both");
    refused(&json!({"mediaType": OCI_MANIFEST}), "no config");
    refused(&json!({"schemaVersion": 2}), "unknown media type");
    let layer = &json!({"digest": digest("l"), "size": 1});
    refused(&json!({"config": layer, "layers": vec![layer; 501]}), "501 layers");
    assert!(Document::parse(b"<html>", "text/html", "test").is_err());
}

#[test]
fn an_entry_with_an_unknown_digest_does_not_spoil_the_index() {
    let good = json!({"digest": digest("x"), "size": 1});
    let index = parse(&json!({"manifests": [{"digest": "blake3:00", "size": 1}, good]}), "").unwrap();
    let Document::Index(index) = index else { panic!("not an index") };
    assert_eq!(index.manifests.len(), 1);
}

#[test]
fn the_nearest_platform_is_chosen() {
    choose("linux/amd64/v3", &["linux/arm64", "linux/amd64"], Some("linux/amd64"));
    choose("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some("linux/amd64/v2"));
    choose("linux/amd64/v3", &["linux/amd64/v2", "linux/amd64/v3"], Some("linux/amd64/v3"));
    choose("linux/amd64", &["linux/amd64/v2"], None);
    choose("linux/amd64/v2", &["windows/amd64", "linux/386", "linux/arm/v7"], None);
    choose("linux/amd64", &["linux/x86_64"], Some("linux/x86_64"));
    choose("linux/arm64/v8", &["linux/arm/v7", "linux/arm64"], Some("linux/arm64"));
    choose("linux/arm64/v8", &["linux/arm/v7"], None);
    choose("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"], Some("linux/arm/v6"));
    choose("linux/arm/v6", &["linux/arm/v7", "linux/arm"], None);
    choose("linux/arm/v7", &["linux/arm/v6", "linux/arm"], Some("linux/arm"));
    choose("linux/arm/v7", &["linux/arm/7"], Some("linux/arm/7"));
    choose("linux/s390x", &["linux/s390x"], Some("linux/s390x"));
    choose("linux/amd64", &["", "linux/amd64"], Some("linux/amd64"));
    choose("linux/amd64", &["unknown/unknown", "", "linux/arm64"], Some(""));
    choose("linux/amd64", &["unknown/unknown"], None);
    choose("linux/amd64", &[], None);
}

#[test]
fn this_machine_runs_images_without_a_variant() {
    let host = Platform::host();
    assert!(host.rank(&Platform { variant: String::new(), ..host.clone() }).is_some());
}

/// What a fuzzer sent: the number fits, ten times it does too, and the nine after the point does not.
#[test]
fn a_variant_with_too_large_a_number_does_not_run_here() {
    let platform = |variant: &str| Platform {
        os: "linux".to_owned(),
        architecture: "arm64".to_owned(),
        variant: variant.to_owned(),
    };
    for variant in ["v429496729.9", "v429496730", "v4294967295", "v4294967296.1"] {
        assert_eq!(platform("v8").rank(&platform(variant)), None, "{variant}");
    }
}

#[test]
fn configurations_are_read_whoever_wrote_them() {
    let file = ConfigFile::parse(
        json!({
            "architecture": "amd64", "os": "linux", "created": "x", "history": null, "moby.buildkit": 1,
            "config": {
                "User": "1000:100", "Env": ["A=b"], "Entrypoint": "/init", "Cmd": null, "WorkingDir": "/w",
                "Volumes": {"/data": {}}, "Labels": null, "StopSignal": "SIGQUIT", "Healthcheck": {"Test": []},
            },
            "rootfs": {"type": "layers", "diff_ids": [digest("a"), digest("b")]},
        })
        .to_string()
        .as_bytes(),
        "test",
    )
    .unwrap();
    let config = ImageConfig::from(&file);
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1000:100", "/w"));
    assert_eq!((config.entrypoint, config.cmd), (vec!["/init".to_owned()], vec![]));
    assert_eq!((config.volumes, config.stop_signal), (vec!["/data".to_owned()], Some("SIGQUIT".to_owned())));
    let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
    assert_eq!(file.chain_ids(), [a.clone(), Digest::chain(Some(&a), &b)]);

    for empty in
        ["{}", r#"{"config":null,"rootfs":null}"#, r#"{"rootfs":{"diff_ids":null},"config":{"Env":null}}"#]
    {
        assert!(ConfigFile::parse(empty.as_bytes(), "test").unwrap().diff_ids().is_empty());
    }
    assert!(ConfigFile::parse(br#"{"rootfs":{"diff_ids":["x"]}}"#, "test").is_err());
}
