//! Pulls from Debian's `docker-registry`: TLS with a private CA, client certificates, a password. Images are
//! pushed by skopeo. Skipped aloud where one of the programs is missing.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use linkspan_image::{Credentials, Digest, Error, ImageId, Images, PullRequest};
use serde_json::json;

/// `joe:secret`, by bcrypt.
const HTPASSWD: &str = "joe:$2b$05$Whq1D5IfW55vo/Ie9bpZ2Or7bZvmVoLo0Ts0DCjgDbvM9NAOygdgm\n";

struct Registry {
    child: Child,
    address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_missing(programs: &[&str]) -> bool {
    let missing: Vec<_> = programs
        .iter()
        .filter(|name| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        })
        .collect();
    if !missing.is_empty() {
        eprintln!("SKIP: not installed: {missing:?}");
    }
    !missing.is_empty()
}

fn run(program: &str, arguments: &[&str], dir: &Path) {
    let output = Command::new(program).args(arguments).current_dir(dir).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
}

/// A CA, a certificate for 127.0.0.1 and one for the client, all in `dir`.
fn make_certificates(dir: &Path) {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
    let ca = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=Test CA"];
    run("openssl", &[&ca[..], &key].concat(), dir);
    for (name, extension) in
        [("server", "subjectAltName=IP:127.0.0.1"), ("client", "extendedKeyUsage=clientAuth")]
    {
        let (key_file, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.cert"));
        let subject = format!("/CN={name}");
        let new = ["req", "-keyout", &key_file, "-out", &request, "-subj", &subject];
        run("openssl", &[&new[..], &key[..5]].concat(), dir);
        fs::write(dir.join("ext"), extension).unwrap();
        let sign = ["x509", "-req", "-in", &request, "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"];
        run("openssl", &[&sign[..], &["-days", "2", "-extfile", "ext", "-out", &certificate]].concat(), dir);
    }
}

/// Starts a registry on a free port and waits until it says that it listens.
fn start(dir: &Path, http: &str, auth: &str) -> Registry {
    let config = format!(
        "version: 0.1\nlog: {{level: info, formatter: text}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: 127.0.0.1:0\n{http}{auth}",
        dir.join("data").display()
    );
    let path = dir.join("registry.yml");
    fs::write(&path, config).unwrap();
    let mut child = Command::new("docker-registry")
        .arg("serve")
        .arg(&path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines.find_map(|line| {
        let line = line.unwrap();
        let rest = line.split("listening on ").nth(1)?.to_owned();
        Some(rest.split([',', '"', ' ']).next()?.to_owned())
    });
    // The registry stops when nobody reads what it says.
    std::thread::spawn(move || lines.for_each(drop));
    Registry { child, address: address.expect("the registry says where it listens") }
}

/// An OCI layout with one image of three layers: plain, gzip, zstd.
fn make_layout(dir: &Path) -> String {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        (digest.to_string(), bytes.len())
    };
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (number, suffix) in ["", "+gzip", "+zstd"].into_iter().enumerate() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        let content = format!("layer {number}\n").repeat(100_000);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(rustix::process::getuid().as_raw().into());
        header.set_gid(rustix::process::getgid().as_raw().into());
        builder.append_data(&mut header, format!("file{number}"), content.as_bytes()).unwrap();
        let tar = builder.into_inner().unwrap();
        diff_ids.push(Digest::of(&tar).to_string());
        let blob = match suffix {
            "+gzip" => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(&tar).unwrap();
                encoder.finish().unwrap()
            }
            "+zstd" => zstd::encode_all(&tar[..], 3).unwrap(),
            _ => tar,
        };
        let (digest, size) = put(&blob);
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        layers.push(json!({"mediaType": media_type, "digest": digest, "size": size}));
    }
    let platform = linkspan_image::manifest::Platform::host();
    let config = json!({
        "os": "linux", "architecture": platform.architecture, "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let (config, size) = put(config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size},
        "layers": layers,
    });
    let (manifest, size) = put(manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest, "size": size,
    }]});
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    config
}

async fn pull(dir: &Path, reference: &str, credentials: Option<Credentials>) -> Result<ImageId, Error> {
    let config = linkspan_config::Image {
        containers_dir: dir.join("containers"),
        certs_dirs: Vec::new(),
        auth_file: None,
        mirror_credentials: false,
        max_parallel_layers: 2,
        progress_timeout: Duration::from_secs(20),
        pinned: Vec::new(),
        max_layer_bytes: 1 << 30,
        max_layer_entries: 1000,
    };
    let images = Images::open(&config, &dir.join("images"), &dir.join("run")).await?;
    let pulled = images
        .pull(PullRequest {
            reference: reference.to_owned(),
            credentials: credentials.map(Into::into),
            progress: None,
        })
        .await;
    images.flush()?;
    pulled
}

/// Where the configuration of the registry at `address` goes.
fn certs_dir(dir: &Path, address: &str) -> PathBuf {
    let path = dir.join("containers/certs.d").join(address);
    fs::create_dir_all(&path).unwrap();
    path
}

#[tokio::test]
async fn plain_http_on_loopback_needs_no_configuration() {
    if is_missing(&["docker-registry", "skopeo"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let id = make_layout(&dir.path().join("layout"));
    let registry = start(dir.path(), "", "");
    let target = format!("docker://{}/team/app:v1", registry.address);
    run("skopeo", &["copy", "--dest-tls-verify=false", "oci:layout", &target], dir.path());
    let pulled = pull(dir.path(), &format!("{}/team/app:v1", registry.address), None).await.unwrap();
    assert_eq!(pulled.to_string(), id);
    let error = pull(dir.path(), &format!("{}/team/app:v2", registry.address), None).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    assert!(error.to_string().contains("manifest unknown"), "{error}");
}

#[tokio::test]
async fn tls_with_a_private_ca_a_client_certificate_and_a_password() {
    if is_missing(&["docker-registry", "skopeo", "openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let id = make_layout(&dir.path().join("layout"));
    make_certificates(dir.path());
    fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let http = format!(
        "  tls:\n    certificate: {}\n    key: {}\n    clientcas: [{}]\n",
        at("server.cert"),
        at("server.key"),
        at("ca.crt")
    );
    let auth = format!("auth:\n  htpasswd: {{realm: test, path: {}}}\n", at("htpasswd"));
    let registry = start(dir.path(), &http, &auth);
    let reference = format!("{}/team/app:v1", registry.address);

    let unknown = pull(dir.path(), &reference, None).await.unwrap_err();
    assert!(matches!(unknown, Error::RegistryUnavailable { .. }), "{unknown}");
    assert!(unknown.to_string().contains("certificate"), "{unknown}");

    let certs = certs_dir(dir.path(), &registry.address);
    for (from, to) in [("ca.crt", "ca.crt"), ("client.cert", "client.cert"), ("client.key", "client.key")] {
        fs::copy(dir.path().join(from), certs.join(to)).unwrap();
    }
    let target = format!("docker://{reference}");
    let certs_text = certs.display().to_string();
    run(
        "skopeo",
        &["copy", "--dest-cert-dir", &certs_text, "--dest-creds=joe:secret", "oci:layout", &target],
        dir.path(),
    );

    let refused = pull(dir.path(), &reference, None).await.unwrap_err();
    assert!(matches!(refused, Error::Unauthorized { .. }), "{refused}");
    let basic = |password: &str| {
        Some(Credentials::Basic { username: "joe".to_owned(), password: password.to_owned() })
    };
    assert!(matches!(pull(dir.path(), &reference, basic("wrong")).await, Err(Error::Unauthorized { .. })));
    assert_eq!(pull(dir.path(), &reference, basic("secret")).await.unwrap().to_string(), id);

    // The same by hosts.toml and auth.json.
    fs::remove_dir_all(&certs).unwrap();
    fs::remove_dir_all(dir.path().join("images")).unwrap();
    let hosts = format!(
        "server = \"https://{}\"\nca = \"{}\"\nclient = [[\"{}\", \"{}\"]]\n",
        registry.address,
        at("ca.crt"),
        at("client.cert"),
        at("client.key")
    );
    fs::write(certs_dir(dir.path(), &registry.address).join("hosts.toml"), hosts).unwrap();
    let auths = json!({"auths": {registry.address.as_str(): {"auth": "am9lOnNlY3JldA=="}}});
    fs::write(dir.path().join("containers/auth.json"), auths.to_string()).unwrap();
    assert_eq!(pull(dir.path(), &reference, None).await.unwrap().to_string(), id);
}
