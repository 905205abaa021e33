//! An image of one static busybox, as an OCI layout on disk.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest, Sha256};

pub(crate) const NAME: &str = "registry.test/busybox:1";

/// What our own script builds, else the machine's.
pub(crate) fn busybox() -> Option<PathBuf> {
    let cache = PathBuf::from(std::env::var_os("HOME")?).join(".cache/linkspan");
    let built = fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path());
    let built = built
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("busybox-")));
    built.map(|path| path.join("busybox")).chain([PathBuf::from("/bin/busybox")]).find(|path| path.exists())
}

/// Writes the layout into `dir`.
pub(crate) fn write_layout(dir: &Path, busybox: &Path) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    let layer = layer(busybox);
    let layer_digest = blob(dir, &layer);
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "FROM=image"],
            "Cmd": ["sleep", "3600"],
            "Volumes": { "/data": {} },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
    });
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", &blob(dir, &config), config.len()),
        "layers": [descriptor("layer.v1.tar", &layer_digest, layer.len())],
    });
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let mut entry = descriptor("manifest.v1+json", &blob(dir, &manifest), manifest.len());
    entry["annotations"] =
        json!({ "io.containerd.image.name": NAME, "org.opencontainers.image.ref.name": NAME });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn descriptor(kind: &str, digest: &str, size: usize) -> serde_json::Value {
    json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size })
}

fn blob(dir: &Path, content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(dir.join("blobs/sha256").join(&hex), content).unwrap();
    format!("sha256:{hex}")
}

fn layer(busybox: &Path) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, content: &[u8], link: Option<&str>| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        match link {
            Some(target) => archive.append_link(&mut header, path, target).unwrap(),
            None => archive.append_data(&mut header, path, content).unwrap(),
        }
    };
    for dir in ["bin/", "etc/", "tmp/", "data/", "home/", "home/www/"] {
        add(dir, tar::EntryType::Directory, if dir == "tmp/" { 0o1777 } else { 0o755 }, &[], None);
    }
    add("bin/busybox", tar::EntryType::Regular, 0o755, &fs::read(busybox).unwrap(), None);
    for applet in [
        "sh", "sleep", "cat", "id", "hostname", "ls", "echo", "true", "ps", "mount", "head", "dd", "stat",
        "ip", "env", "pwd", "kill", "touch",
    ] {
        add(&format!("bin/{applet}"), tar::EntryType::Link, 0o755, &[], Some("bin/busybox"));
    }
    add(
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        b"root:x:0:0::/:/bin/sh\nwww:x:33:34::/home/www:/bin/sh\n",
        None,
    );
    add("etc/group", tar::EntryType::Regular, 0o644, b"root:x:0:\nwww:x:34:\nextra:x:50000:www\n", None);
    add("data/seed", tar::EntryType::Regular, 0o640, b"from the image", None);
    archive.into_inner().unwrap()
}
