//! The images of a cluster, and those that Kubernetes' own suite names (`k8s.io/kubernetes/test/utils/image/manifest.go`),
//! with the contents its specs rely on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::base;
use super::catalog::{self, Ingredients, PATH, shell};
use super::image::{Form, Image};
use super::layer::{Compression, Layer};
use super::storage::Storage;
use super::tar::Entry;
use crate::tools;

/// What these images are made of, beside the ingredients of all.
#[derive(Debug)]
pub struct Programs {
    /// Debian's network programs unpacked, with their libraries.
    pub network: PathBuf,
    /// Holds `coredns`.
    pub coredns: PathBuf,
    /// Holds `agnhost`, `localhost.crt` and `localhost.key`.
    pub kubernetes: PathBuf,
    /// Holds `etcd`, `kube-apiserver`, `kube-controller-manager` and `kube-scheduler`.
    pub control_plane: PathBuf,
}

/// The tags that kubeadm asks for (`k8s.io/kubernetes/cmd/kubeadm/app/constants/constants.go`).
const KUBEADM_COREDNS: &str = "v1.14.6";
const KUBEADM_ETCD: &str = "3.7.0-0";

/// Builds the images into the storage of a registry.
pub fn build(storage: &Storage, from: &Ingredients, programs: &Programs) -> io::Result<()> {
    let busybox = base::busybox(storage, &from.busybox)?;
    let network = Layer::of(storage, Compression::Gzip, &base::tree(&programs.network)?)?;
    let coredns = layer(storage, vec![Entry::copy("coredns", 0o755, programs.coredns.join("coredns"))])?;
    let pause = catalog::pause(storage, from, "3.10.2")?.tags(&["3.10.2", "3.10.1", "3.10"]);
    let mut agnhost = agnhost(&programs.kubernetes);
    agnhost.extend(registry(storage, &pause.publish(storage)?)?);
    let agnhost = vec![busybox.clone(), network.clone(), coredns.clone(), layer(storage, agnhost)?];
    let nginx = vec![busybox.clone(), base::nginx(storage, &from.nginx, 80)?];
    let mut images = vec![
        Image::new("coredns/coredns", "v1.15.0", vec![coredns], json!({ "Entrypoint": ["/coredns"] }))
            .tags(&["v1.15.0", KUBEADM_COREDNS]),
        Image::new("e2e-test-images/agnhost", "2.66.1", agnhost, agnhost_config()).tags(&["2.66.1", "2.55"]),
        Image::new(
            "e2e-test-images/glibc-dns-testing",
            "2.1.1",
            vec![busybox.clone(), network.clone()],
            shell(json!({})),
        ),
        Image::new("e2e-test-images/ipc-utils", "1.4", vec![busybox.clone(), network], shell(json!({}))),
    ];
    images.extend(small(&busybox));
    images.extend(servers(&nginx));
    images.extend(control_plane(storage, &programs.control_plane)?);
    images.push(catalog::nonewprivs(storage, from, &busybox)?);
    images.iter().try_for_each(|image| image.publish(storage).map(drop))
}

fn layer(storage: &Storage, entries: Vec<Entry>) -> io::Result<Layer> {
    Layer::of(storage, Compression::Gzip, &entries)
}

/// What kubeadm's static pods run: each program alone in its image, found by its name.
fn control_plane(storage: &Storage, from: &Path) -> io::Result<Vec<Image>> {
    let release = format!("v{}", tools::version("KUBERNETES"));
    let image = |(name, tag): (&'static str, &str)| {
        let program = Entry::copy(&format!("usr/local/bin/{name}"), 0o755, from.join(name));
        Ok(Image::new(name, tag, vec![layer(storage, vec![program])?], json!({ "Env": [PATH] })))
    };
    let components = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];
    components
        .map(|name| (name, release.as_str()))
        .into_iter()
        .chain([("etcd", KUBEADM_ETCD)])
        .map(image)
        .collect()
}

fn small(busybox: &Layer) -> Vec<Image> {
    let layers = || vec![busybox.clone()];
    vec![
        Image::new("e2e-test-images/busybox", "1.37.0-2", layers(), shell(json!({})))
            .tags(&["1.37.0-2", "1.29-2"])
            .form(Form::DockerList),
        Image::new("library/busybox", "latest", layers(), shell(json!({}))).form(Form::OciIndex),
        Image::new("e2e-test-images/nonroot", "1.5", layers(), shell(json!({ "User": "1234" }))),
    ]
}

/// One server, whose two versions a Deployment can roll between.
fn servers(layers: &[Layer]) -> Vec<Image> {
    let image = |repository, tag, version: &str| {
        let config = json!({
            "Env": [PATH, format!("NGINX_VERSION={version}")], "Cmd": ["nginx", "-g", "daemon off;"],
            "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGQUIT",
        });
        Image::new(repository, tag, layers.to_vec(), config).form(Form::OciIndex)
    };
    vec![
        image("e2e-test-images/nginx", "1.27.0-2", "1.27"),
        image("e2e-test-images/nginx", "1.28.0-2", "1.28"),
        image("library/nginx", "latest", "latest"),
    ]
}

fn agnhost_config() -> Value {
    let ports = ["80/tcp", "8080/tcp", "8081/tcp", "9376/tcp", "5000/tcp"];
    let ports: serde_json::Map<String, Value> =
        ports.map(|port| (port.to_owned(), json!({}))).into_iter().collect();
    json!({ "Env": [PATH], "Entrypoint": ["/agnhost"], "Cmd": ["pause"], "ExposedPorts": ports })
}

/// The program under both its names, and a user whose groups stand in the image alone.
fn agnhost(from: &Path) -> Vec<Entry> {
    let user = "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n";
    let group = "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n";
    let without = |text: &str| -> String {
        text.lines()
            .filter(|line| !line.contains(":1000:") && !line.contains(":50000:"))
            .flat_map(|line| [line, "\n"])
            .collect()
    };
    vec![
        Entry::file("etc/passwd", 0o644, without(base::PASSWD) + user),
        Entry::file("etc/group", 0o644, without(base::GROUP) + group),
        Entry::directory("home/user-defined-in-image/", 0o755).owner(1000, 1000),
        Entry::directory("uploads/", 0o755),
        Entry::copy("localhost.crt", 0o644, from.join("localhost.crt")),
        Entry::copy("localhost.key", 0o600, from.join("localhost.key")),
        Entry::copy("agnhost", 0o755, from.join("agnhost")),
        Entry::symlink("agnhost-2", "agnhost"),
    ]
}

/// The folder that agnhost's `fake-registry-server` serves: the image `pause:testing`.
fn registry(storage: &Storage, manifest_digest: &str) -> io::Result<Vec<Entry>> {
    let manifest = fs::read(storage.blob_path(manifest_digest))?;
    let parsed: Value = serde_json::from_slice(&manifest)?;
    let place = |kind: &str, digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        format!("var/registry/pause/{kind}/sha256/{}/{hex}/data", &hex[..2])
    };
    let mut entries = vec![
        Entry::file("var/registry/pause/manifests/testing", 0o644, format!("{manifest_digest}\n")),
        Entry::file(&place("manifests", manifest_digest), 0o644, manifest),
    ];
    let layers = parsed["layers"].as_array().into_iter().flatten();
    for digest in layers.chain([&parsed["config"]]).filter_map(|blob| blob["digest"].as_str()) {
        entries.push(Entry::copy(&place("blobs", digest), 0o644, storage.blob_path(digest)));
    }
    Ok(entries)
}
