//! Streaming in TLS, with certificates of clients, and with new certificates while the daemon runs.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use linkspan_tests::node::{Node, Options};
use linkspan_tests::streaming::{self, Streams};
use linkspan_tests::{need, node, requests, wait};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{DEADLINE, TRANSPORTS, Told, crictl};

/// Writes a new authority, and a certificate of it for the server and for a client.
fn write_certificates(folder: &Path) -> Result<()> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    for name in ["server", "client"] {
        let key = KeyPair::generate()?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        replace(&folder.join(format!("{name}.key")), &key.serialize_pem())?;
        replace(&folder.join(format!("{name}.pem")), &certificate.pem())?;
    }
    replace(&folder.join("ca.pem"), &authority.pem())
}

/// As an administrator does: under another name first.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    Ok(fs::rename(new, path)?)
}

async fn hello(node: &Node, folder: &Path, id: &str, transport: &str) -> Result<Told> {
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let arguments = [
        "exec",
        "--tls-ca",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--transport",
        transport,
        id,
        "echo",
        "hello",
    ];
    crictl(node, &arguments, Vec::new()).await
}

#[tokio::test]
async fn sessions_in_tls_are_for_clients_with_a_certificate_and_outlive_a_change_of_it() {
    need!(Crictl);
    let folder = tempfile::tempdir().unwrap();
    write_certificates(folder.path()).unwrap();
    let path = folder.path().display();
    let configuration = format!(
        "[streaming]\ntls_cert_file = \"{path}/server.pem\"\ntls_key_file = \"{path}/server.key\"\n\
         tls_client_ca_file = \"{path}/ca.pem\"\ntls_min_version = \"1.3\"\n"
    );
    node::with(Options { configuration, ..Options::default() }, async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "tls"), &requests::idle("c")).await?;
        let url = streaming::exec_url(&mut node.runtime, &id, &["true"], Streams::OUTPUT).await?;
        assert!(url.starts_with("https://"), "{url}");
        for transport in TRANSPORTS {
            let told = hello(node, folder.path(), &id, transport).await?;
            assert_eq!(String::from_utf8_lossy(&told.stdout), "hello\n", "{transport}: {}", told.stderr);
            let stranger =
                crictl(node, &["exec", "--transport", transport, &id, "echo", "hello"], vec![]).await?;
            assert!(!stranger.success && stranger.stdout.is_empty(), "{transport}: without a certificate");
        }
        // Plain HTTP gets no answer, and does no harm.
        let address = url.trim_start_matches("https://").split('/').next().unwrap_or_default();
        let mut plain = tokio::net::TcpStream::connect(address).await?;
        plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(DEADLINE, plain.read_to_end(&mut answer)).await?;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{answer:?}");

        // Another authority: who has a certificate of it gets in, and nobody has to start the daemon anew.
        write_certificates(folder.path())?;
        wait::until("the new certificates count", DEADLINE, async || {
            let told = hello(node, folder.path(), &id, "spdy").await?;
            ensure!(told.stdout == b"hello\n", "{}", told.stderr);
            Ok(())
        })
        .await
    })
    .await;
}
