//! All images of the suites. Their contents are what the specs of critest rely on, no more.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::artifact::Artifact;
use super::image::{Form, Image, architecture};
use super::layer::{Compression, Layer};
use super::storage::Storage;
use super::tar::Entry;
use super::{base, large, odd};

pub const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the images are made of; `contrib/tools/images` provides it.
#[derive(Debug)]
pub struct Ingredients {
    /// Holds `busybox` and the list `applets`.
    pub busybox: PathBuf,
    /// Debian's nginx unpacked, with its libraries.
    pub nginx: PathBuf,
    /// Holds the compiled programs of `tests/fixtures`.
    pub programs: PathBuf,
}

/// Builds all images into the storage of a registry.
pub fn build(storage: &Storage, from: &Ingredients) -> io::Result<()> {
    let busybox = base::busybox(storage, &from.busybox)?;
    let nginx = base::nginx(storage, &from.nginx, 80)?;
    let hostnet = base::nginx(storage, &from.nginx, 12003)?;
    let mut images = programs(storage, from, &busybox)?;
    images.extend(servers(&busybox, nginx, hostnet));
    images.extend(critest(storage, &busybox)?);
    images.extend(ours(storage, &busybox)?);
    images.push(probe(storage, from, &busybox)?);
    images.iter().try_for_each(|image| image.publish(storage).map(drop))?;
    artifacts().iter().try_for_each(|artifact| artifact.publish(storage).map(drop))
}

/// As `registry.linkspan.test/files`.
fn artifacts() -> Vec<Artifact> {
    let files = vec![("config.yaml", "colour: blue\n"), ("model/weights.bin", "weights"), ("", "untitled")];
    let escaping = vec![("../../escaped", "x")];
    vec![
        Artifact { repository: "files", tag: "latest", files },
        Artifact { repository: "files", tag: "escaping", files: escaping },
        Artifact { repository: "files", tag: "none", files: Vec::new() },
    ]
}

/// An image whose command is a shell; `config` overrides.
pub fn shell(config: Value) -> Value {
    let mut merged = json!({ "Env": [PATH], "Cmd": ["sh"] });
    if let (Some(merged), Some(config)) = (merged.as_object_mut(), config.as_object()) {
        merged.extend(config.clone());
    }
    merged
}

fn programs(storage: &Storage, from: &Ingredients, busybox: &Layer) -> io::Result<Vec<Image>> {
    Ok(vec![
        pause(storage, from, "3.9")?.tags(&["3.9", "3.10"]).form(Form::DockerList),
        pause(storage, from, "3.10.1")?.form(Form::OciIndex),
        nonewprivs(storage, from, busybox)?,
    ])
}

/// The holder of a pod's namespaces, for runtimes that pull one.
pub fn pause(storage: &Storage, from: &Ingredients, version: &'static str) -> io::Result<Image> {
    let program = [Entry::copy("pause", 0o755, from.programs.join("pause"))];
    let layers = vec![Layer::of(storage, Compression::Gzip, &program)?];
    let config = json!({ "Env": [PATH], "Entrypoint": ["/pause"], "User": "65535:65535" });
    Ok(Image::new("pause", version, layers, config))
}

/// Its program is set-user-ID root.
pub fn nonewprivs(storage: &Storage, from: &Ingredients, busybox: &Layer) -> io::Result<Image> {
    let program = [Entry::copy("usr/bin/nnp", 0o4755, from.programs.join("nonewprivs"))];
    let layers = vec![busybox.clone(), Layer::of(storage, Compression::Gzip, &program)?];
    let config = json!({ "Env": [PATH], "Entrypoint": ["/usr/bin/nnp"] });
    Ok(Image::new("e2e-test-images/nonewprivs", "1.3", layers, config).tags(&["1.3", "1.4"]))
}

/// As `registry.linkspan.test/probe`: `/bin/probe` tries what containers must not.
fn probe(storage: &Storage, from: &Ingredients, busybox: &Layer) -> io::Result<Image> {
    let program = [Entry::copy("bin/probe", 0o755, from.programs.join("probe"))];
    let layers = vec![busybox.clone(), Layer::of(storage, Compression::Gzip, &program)?];
    Ok(Image::new("probe", "latest", layers, shell(json!({}))))
}

fn servers(busybox: &Layer, nginx: Layer, hostnet: Layer) -> Vec<Image> {
    let config = json!({
        "Env": [PATH, "NGINX_VERSION=debian"], "Cmd": ["nginx", "-g", "daemon off;"],
        "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGTERM",
        "Labels": { "maintainer": "Linkspan tests" },
    });
    let hostnet_name = match architecture() {
        "arm64" => "k8s-staging-cri-tools/hostnet-nginx-arm64",
        _ => "k8s-staging-cri-tools/hostnet-nginx-amd64",
    };
    let layers = vec![busybox.clone(), nginx];
    vec![
        Image::new("e2e-test-images/nginx", "1.14-2", layers.clone(), config.clone()).form(Form::DockerList),
        Image::new("library/nginx", "latest", layers, config.clone()).form(Form::OciIndex),
        Image::new(hostnet_name, "latest", vec![busybox.clone(), hostnet], config),
        Image::new(
            "e2e-test-images/httpd",
            "2.4.39-4",
            vec![busybox.clone()],
            json!({
                "Env": [PATH], "ExposedPorts": { "80/tcp": {} }, "WorkingDir": "/var/www",
                // A spec looks for the server's name in its log.
                "Cmd": ["sh", "-c", "echo httpd: serving; exec httpd -f -v -p 80 -h /var/www"],
            }),
        ),
    ]
}

fn critest(storage: &Storage, busybox: &Layer) -> io::Result<Vec<Image>> {
    let base = vec![busybox.clone()];
    let mut images = vec![
        Image::new("e2e-test-images/busybox", "1.29-2", base.clone(), shell(json!({})))
            .form(Form::DockerList),
        Image::new("library/busybox", "latest", base.clone(), shell(json!({}))).form(Form::OciIndex),
    ];
    for (name, user) in [
        ("k8s-staging-cri-tools/test-image-user-uid", "1002"),
        ("k8s-staging-cri-tools/test-image-user-username", "www-data"),
        ("k8s-staging-cri-tools/test-image-user-uid-group", "1003:users"),
        ("k8s-staging-cri-tools/test-image-user-username-group", "www-data:100"),
        ("k8s-staging-cri-tools/test-image-predefined-group", "1000"),
    ] {
        images.push(Image::new(name, "latest", base.clone(), shell(json!({ "User": user }))));
    }
    for (name, tags) in [
        ("k8s-staging-cri-tools/test-image-latest", &["latest"][..]),
        ("k8s-staging-cri-tools/test-image-digest", &["latest"]),
        ("k8s-staging-cri-tools/test-image-1", &["latest"]),
        ("k8s-staging-cri-tools/test-image-2", &["latest"]),
        ("k8s-staging-cri-tools/test-image-3", &["latest"]),
        ("k8s-staging-cri-tools/test-image-tag", &["test"]),
        ("k8s-staging-cri-tools/test-image-tag", &["all"]),
        ("k8s-staging-cri-tools/test-image-tags", &["1", "2", "3"]),
    ] {
        let mark = Entry::file("image-name", 0o644, format!("{name}:{}\n", tags[0]));
        let layers = vec![busybox.clone(), Layer::of(storage, Compression::Gzip, &[mark])?];
        images.push(Image::new(name, tags[0], layers, shell(json!({}))).tags(tags));
    }
    Ok(images)
}

/// Images that only our own tests know, as `registry.linkspan.test/…`.
fn ours(storage: &Storage, busybox: &Layer) -> io::Result<Vec<Image>> {
    let mut images = Vec::new();
    for (tag, compression, form) in [
        ("gzip", Compression::Gzip, Form::Docker),
        ("zstd", Compression::Zstd, Form::Oci),
        ("plain", Compression::None, Form::OciIndex),
    ] {
        let mut layers = vec![busybox.clone()];
        layers.extend(odd::layers(storage, compression)?);
        images.push(Image::new("odd", tag, layers, shell(json!({}))).form(form));
    }
    let mut layers = vec![busybox.clone()];
    layers.extend(large::layers(storage)?);
    images.push(Image::new("large", "latest", layers, shell(json!({}))).form(Form::OciIndex));
    let layers = vec![busybox.clone(), odd::old_sparse(storage)?];
    images.push(Image::new("sparse", "old", layers, shell(json!({}))));
    // A layer that names no parents, repeated layers, and a configuration with every field that containers use.
    let implied = Layer::of(
        storage,
        Compression::Gzip,
        &[
            Entry::file("implied/by/its/path", 0o644, "x"),
            Entry::file("./dotted/name", 0o644, "x"),
            Entry::file("/rooted/name", 0o644, "x"),
            Entry::file("var/www/added", 0o644, "x"),
        ],
    )?;
    let empty = Layer::of(storage, Compression::Gzip, &[])?;
    let layers = vec![busybox.clone(), empty.clone(), implied, empty];
    images.push(
        Image::new("configured", "latest", layers, json!({
            "User": "default-user", "Env": [PATH, "FROM_IMAGE=yes", "EMPTY="], "WorkingDir": "/home/default-user",
            "Entrypoint": ["/bin/echo", "entrypoint"], "Cmd": ["command"], "StopSignal": "SIGUSR1",
            "Volumes": { "/data": {} }, "Labels": { "purpose": "tests" }, "ExposedPorts": { "8080/tcp": {} },
        }))
        .form(Form::Oci),
    );
    Ok(images)
}
