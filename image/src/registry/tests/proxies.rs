//! What goes through a proxy, and what does not.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::Proxies;
use super::mirrors::write;
use super::{Answer, Error, MANIFEST, Server, Session, Transport, settings};

async fn manifest(variables: &[(&str, String)], dir: &Path, name: &str) -> Result<String, Error> {
    let proxies = Proxies::new(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| value.clone())
    });
    let settings = super::Settings { transport: Transport::new(proxies), ..settings(dir) };
    let session = Session::open(&settings, name.parse().unwrap(), None).await.unwrap();
    session.manifest().await.map(|fetched| String::from_utf8(fetched.bytes.to_vec()).unwrap())
}

fn plain_hosts(dir: &Path, names: &[&str]) {
    for name in names {
        let path = format!("certs.d/{}/hosts.toml", name.replace(':', "_").replace("_5000", "_5000_"));
        write(dir, &path, &format!("server = \"http://{name}\"\n"));
    }
}

/// A proxy that answers by itself, as the registry r.example and its token server.
async fn proxy() -> Server {
    Server::start(|seen| match (seen.header("host").unwrap_or_default(), seen.header("authorization")) {
        ("auth.example", _) => Answer::ok(r#"{"token":"t"}"#),
        ("bucket.example", None) => Answer::ok(MANIFEST),
        ("r.example" | "r.example:5000", Some("Bearer t")) => Answer::ok(MANIFEST),
        ("r.example" | "r.example:5000", _) => Answer::status(401, "")
            .header("www-authenticate", r#"Bearer realm="http://auth.example/token",service="r""#),
        _ => Answer::status(502, "no such host"),
    })
    .await
}

#[tokio::test]
async fn registries_and_token_servers_are_asked_through_the_proxy() {
    let proxy = proxy().await;
    let dir = tempfile::tempdir().unwrap();
    plain_hosts(dir.path(), &["r.example", "r.example:5000"]);
    let address = format!("http://joe:hush@{}", proxy.address);
    let variables = [("HTTP_PROXY", address.clone())];
    assert_eq!(manifest(&variables, dir.path(), "r.example/a:1").await.unwrap(), MANIFEST);
    let seen = proxy.seen();
    assert!(
        seen.iter().all(|seen| seen.header("proxy-authorization") == Some("Basic am9lOmh1c2g=")),
        "{seen:?}"
    );
    assert_eq!(proxy.asked("/token").len(), 1);

    // A port may be left out of it, and only that.
    let before = proxy.seen().len();
    let variables = [("HTTP_PROXY", address), ("NO_PROXY", "r.example:5000".to_owned())];
    manifest(&variables, dir.path(), "r.example/a:1").await.unwrap();
    assert!(proxy.seen().len() > before);
    let before = proxy.seen().len();
    manifest(&variables, dir.path(), "r.example:5000/a:1").await.unwrap_err();
    assert_eq!(proxy.seen().len(), before, "asked directly, though nobody has that name");
}

/// The rules are those of the address that is asked, not of the registry that led to it.
#[tokio::test]
async fn a_redirect_of_a_local_registry_goes_through_the_proxy() {
    let proxy = proxy().await;
    let local =
        Server::start(|_| Answer::status(307, "").header("location", "http://bucket.example/m")).await;
    let dir = tempfile::tempdir().unwrap();
    let variables = [("http_proxy", proxy.address.to_string())];
    let name = format!("{}/a:1", local.address);
    assert_eq!(manifest(&variables, dir.path(), &name).await.unwrap(), MANIFEST);
    assert_eq!(local.seen().len(), 1, "a loopback address is asked directly");
    assert_eq!(proxy.seen().len(), 1);
}

#[tokio::test]
async fn a_proxy_that_fails_is_named_without_its_password() {
    let dir = tempfile::tempdir().unwrap();
    plain_hosts(dir.path(), &["r.example"]);
    let refusing = Server::start(|_| Answer::status(407, "who are you?")).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (variable, host, scheme, address) in [
        ("HTTP_PROXY", "r.example", "http", closed),
        ("HTTPS_PROXY", "s.example", "http", closed),
        ("HTTPS_PROXY", "s.example", "http", refusing.address),
        ("HTTPS_PROXY", "s.example", "socks5", closed),
    ] {
        let variables = [(variable, format!("{scheme}://joe:hush@{address}"))];
        let error = manifest(&variables, dir.path(), &format!("{host}/a:1")).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(&address.to_string()) && text.contains(host), "{text}");
        assert!(!text.contains("hush") && !text.contains("am9lOmh1c2g="), "{text}");
    }
}

/// A SOCKS 5 proxy (RFC 1928) that leads every name to `target`, and gives the names back.
async fn socks(target: SocketAddr) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (names, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let names = names.clone();
            tokio::spawn(async move {
                let mut greeting = [0; 2];
                client.read_exact(&mut greeting).await?;
                let mut methods = vec![0; usize::from(greeting[1])];
                client.read_exact(&mut methods).await?;
                client.write_all(&[5, 0]).await?;
                let mut request = [0; 5];
                client.read_exact(&mut request).await?;
                assert_eq!(request[3], 3, "a name, not an address");
                let mut name = vec![0; usize::from(request[4]) + 2];
                client.read_exact(&mut name).await?;
                name.truncate(usize::from(request[4]));
                let _ = names.send(String::from_utf8_lossy(&name).into_owned());
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
                let mut server = TcpStream::connect(target).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn a_socks_proxy_looks_names_up_by_itself() {
    let server = Server::start(|_| Answer::ok(MANIFEST)).await;
    let (address, mut names) = socks(server.address).await;
    let dir = tempfile::tempdir().unwrap();
    plain_hosts(dir.path(), &["r.example"]);
    let variables = [("HTTP_PROXY", format!("socks5://{address}"))];
    assert_eq!(manifest(&variables, dir.path(), "r.example/a:1").await.unwrap(), MANIFEST);
    assert_eq!(names.recv().await.as_deref(), Some("r.example"));
}
