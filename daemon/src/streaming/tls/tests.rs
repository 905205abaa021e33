//! Certificates of this test's own, in files, and real handshakes over a socket pair.

use std::time::{Instant, SystemTime};

use linkspan_config::{Place, Sources};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustix::fs::{FileType, Mode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;

/// An authority and the files that the server reads.
struct Node {
    dir: TempDir,
    authority: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

impl Node {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let certificate = params.self_signed(&key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { dir, authority: Issuer::new(params, key), roots }
    }

    /// A signed certificate and its key, in PEM.
    fn signed(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn write(&self, file: &str, text: &str) {
        // By rename, as those who renew certificates do: a change within the clock's grain is seen by the inode.
        let new = self.dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(&new, self.dir.path().join(file)).unwrap();
    }

    fn install(&self, name: &str) -> CertificateDer<'static> {
        let (certificate, key) = self.signed(name);
        self.write("cert.pem", &certificate);
        self.write("key.pem", &key);
        CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()
    }

    fn config(&self) -> Streaming {
        let nowhere = Sources { place: Place::below("/nowhere"), ..Sources::default() };
        let mut config = linkspan_config::load(&nowhere).unwrap().config.streaming;
        config.tls_cert_file = Some(self.dir.path().join("cert.pem"));
        config.tls_key_file = Some(self.dir.path().join("key.pem"));
        config
    }

    /// The certificate that a client with this identity gets to see.
    async fn dial(&self, tls: &Tls, client: Client) -> Result<CertificateDer<'static>, String> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(client.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let config = match client.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (accepted, connected) = tokio::join!(
            TlsAcceptor::from(tls.current().await).accept(theirs),
            TlsConnector::from(Arc::new(config)).connect(name, ours),
        );
        let (accepted, connected) = match (accepted, connected) {
            (Ok(accepted), Ok(connected)) => (accepted, connected),
            (Err(error), _) | (_, Err(error)) => return Err(error.to_string()),
        };
        Ok(talk(accepted, connected).await)
    }
}

async fn talk(
    mut accepted: server::TlsStream<DuplexStream>,
    mut connected: client::TlsStream<DuplexStream>,
) -> CertificateDer<'static> {
    accepted.write_all(b"x").await.unwrap();
    accepted.flush().await.unwrap();
    assert_eq!(connected.read_u8().await.unwrap(), b'x');
    connected.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// How a client comes.
struct Client {
    versions: &'static [&'static SupportedProtocolVersion],
    /// Certificate and key, in PEM.
    identity: Option<(String, String)>,
}

const STRANGER: Client = Client { versions: rustls::ALL_VERSIONS, identity: None };

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_client() {
    let node = Node::new();
    let first = node.install("first");
    let tls = Tls::open(&node.config()).unwrap().unwrap();
    assert_eq!(node.dial(&tls, STRANGER).await.unwrap(), first);
    let second = node.install("second");
    assert_ne!(first, second);
    assert_eq!(node.dial(&tls, STRANGER).await.unwrap(), second);
}

#[tokio::test]
async fn files_that_are_no_good_leave_the_old_certificate() {
    let node = Node::new();
    let first = node.install("first");
    let tls = Tls::open(&node.config()).unwrap().unwrap();
    // The key of another certificate: what the moment between two renames looks like.
    node.write("key.pem", &node.signed("other").1);
    assert_eq!(node.dial(&tls, STRANGER).await.unwrap(), first);
    node.write("cert.pem", "no certificate\n");
    assert_eq!(node.dial(&tls, STRANGER).await.unwrap(), first);
    fs::remove_file(node.dir.path().join("cert.pem")).unwrap();
    for _ in 0..2 {
        assert_eq!(node.dial(&tls, STRANGER).await.unwrap(), first);
    }
    let second = node.install("second");
    assert_eq!(node.dial(&tls, STRANGER).await.unwrap(), second);
}

#[tokio::test]
async fn files_that_have_not_changed_are_not_read() {
    let node = Node::new();
    node.install("first");
    let tls = Tls::open(&node.config()).unwrap().unwrap();
    let before = tls.current().await;
    assert!(Arc::ptr_eq(&before, &tls.current().await));
    let key = fs::File::options().write(true).open(node.dir.path().join("key.pem")).unwrap();
    key.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    assert!(!Arc::ptr_eq(&before, &tls.current().await), "a file of another time is another file");
}

#[tokio::test]
async fn with_an_authority_clients_must_show_a_certificate_of_it() {
    let node = Node::new();
    node.install("server");
    let mut config = node.config();
    config.tls_client_ca_file = Some(node.dir.path().join("ca.pem"));
    let tls = Tls::open(&config).unwrap().unwrap();
    let known = Client { identity: Some(node.signed("client")), ..STRANGER };
    node.dial(&tls, known).await.unwrap();
    let forged = Client { identity: Some(Node::new().signed("client")), ..STRANGER };
    for client in [STRANGER, forged] {
        node.dial(&tls, client).await.expect_err("it has no certificate of the authority");
    }
}

#[tokio::test]
async fn older_tls_than_configured_is_refused() {
    let node = Node::new();
    node.install("server");
    let mut config = node.config();
    const OLD: Client = Client { versions: &[&version::TLS12], identity: None };
    let tls = Tls::open(&config).unwrap().unwrap();
    node.dial(&tls, OLD).await.unwrap();
    config.tls_min_version = TlsVersion::Tls13;
    let tls = Tls::open(&config).unwrap().unwrap();
    node.dial(&tls, STRANGER).await.unwrap();
    node.dial(&tls, OLD).await.expect_err("1.3 is the least");
}

#[test]
fn bad_files_are_named_when_the_daemon_starts() {
    let node = Node::new();
    let refused = || Tls::open(&node.config()).unwrap_err().to_string();
    assert!(refused().contains("cert.pem: No such file"), "{}", refused());
    node.install("server");
    node.write("key.pem", "no key\n");
    assert!(refused().starts_with("streaming.tls_key_file: reading "), "{}", refused());
    node.write("key.pem", &node.signed("other").1);
    assert!(refused().contains("with key"), "{}", refused());
    node.write("cert.pem", "");
    assert!(refused().starts_with("streaming.tls_cert_file: no certificate in "), "{}", refused());
}

#[tokio::test]
async fn files_that_do_not_answer_leave_the_old_certificate() {
    let node = Node::new();
    let first = node.install("first");
    let tls = Tls::open(&node.config()).unwrap().unwrap();
    // To open it for reading takes until somebody opens it for writing.
    let fifo = node.dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::rename(&fifo, node.dir.path().join("cert.pem")).unwrap();
    let began = Instant::now();
    let (one, other) = tokio::join!(node.dial(&tls, STRANGER), node.dial(&tls, STRANGER));
    assert_eq!((one.unwrap(), other.unwrap()), (first.clone(), first));
    assert!(began.elapsed() < 3 * LOOK, "{:?}", began.elapsed());
    // The thread that reads it comes back, and the test to its end.
    drop(fs::File::options().write(true).open(node.dir.path().join("cert.pem")).unwrap());
}
