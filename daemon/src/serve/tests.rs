//! The server on a real socket, in this process.

use linkspan_config::{Grpc, Place, Sources, load};
use linkspan_cri_api::v1::image_service_client::ImageServiceClient;
use linkspan_cri_api::v1::runtime_service_client::RuntimeServiceClient;
use linkspan_cri_api::{RPCS, v1};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::*;
use crate::cli::client::connect;

/// A daemon in a directory of its own.
struct Served {
    channel: Channel,
    app: App,
    end: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
    dir: TempDir,
}

impl Served {
    /// `None`, and a word about it, for a user who cannot make cgroups.
    async fn start() -> Option<Served> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP: needs root, to make the daemon's cgroup");
            return None;
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().expect("a directory");
        let sources = Sources { place: Place::below(dir.path().to_owned()), ..Sources::default() };
        let loaded = load(&sources).expect("defaults are good");
        let (listener, _) = socket::bind(&loaded.config.grpc).expect("the socket is free");
        let streaming = streaming::Server::bind(&loaded.config.streaming).await.expect("a port is free");
        let app = App::open(loaded, streaming.desk()).await.expect("an empty place can be opened");
        let (end, ended) = oneshot::channel();
        let (served, socket) = (app.clone(), app.config.grpc.socket.clone());
        let task = tokio::spawn(async move {
            let ended = async { drop(ended.await) };
            run(&served, listener, ended).await;
        });
        let channel = connect(&socket).await.expect("it answers");
        Some(Served { channel, app, end, task, dir })
    }

    async fn stop(self) {
        drop(self.channel);
        self.end.send(()).expect("it still runs");
        self.task.await.expect("no panic");
        self.app.close(GRACE).await;
        drop(self.dir);
    }
}

/// Calls an RPC by its name with an empty request, and reads no answer.
async fn call(channel: &Channel, service: &str, rpc: &str) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("connected");
    let path = format!("/runtime.v1.{service}/{rpc}").parse().expect("a path");
    let codec: tonic_prost::ProstCodec<(), ()> = tonic_prost::ProstCodec::default();
    client.server_streaming(Request::new(()), path, codec).await.map(drop)
}

#[tokio::test]
async fn version_answers_through_the_socket() {
    let Some(served) = Served::start().await else { return };
    let request = v1::VersionRequest { version: "v1".into() };
    let version = RuntimeServiceClient::new(served.channel.clone())
        .version(request)
        .await
        .expect("it answers")
        .into_inner();
    assert_eq!(version.runtime_name, "linkspan");
    assert_eq!(version.runtime_api_version, "v1");
    assert_eq!(version.runtime_version, env!("CARGO_PKG_VERSION"));
    served.stop().await;
}

#[tokio::test]
async fn every_rpc_is_served() {
    let Some(served) = Served::start().await else { return };
    for rpc in RPCS {
        let answer = call(&served.channel, rpc.service, rpc.name).await;
        let code = answer.as_ref().err().map_or(Code::Ok, Status::code);
        assert_ne!(code, Code::Unimplemented, "{}: {answer:?}", rpc.name);
    }
    served.stop().await;
}

#[tokio::test]
async fn an_unknown_image_is_no_error() {
    let Some(served) = Served::start().await else { return };
    let mut images = ImageServiceClient::new(served.channel.clone());
    let image = || Some(v1::ImageSpec { image: "localhost/nothing:1".into(), ..Default::default() });
    let request = v1::ImageStatusRequest { image: image(), verbose: true };
    let answer = images.image_status(request).await.expect("no error").into_inner();
    assert_eq!(answer, v1::ImageStatusResponse::default());
    let bad = images.image_status(v1::ImageStatusRequest::default()).await.expect_err("it names no image");
    assert_eq!((bad.code(), bad.message()), (Code::InvalidArgument, "image: missing"));
    served.stop().await;
}

#[tokio::test]
async fn calls_are_counted_by_name_and_code() {
    let Some(served) = Served::start().await else { return };
    call(&served.channel, "RuntimeService", "Version").await.expect("it answers");
    call(&served.channel, "RuntimeService", "ContainerStatus").await.expect_err("no ID");
    call(&served.channel, "RuntimeService", "Invented").await.expect_err("no such RPC");
    let text = served.app.metrics.text();
    for line in [
        "linkspan_rpc_duration_seconds_count{rpc=\"Version\",code=\"OK\"} 1",
        "linkspan_rpc_duration_seconds_count{rpc=\"ContainerStatus\",code=\"InvalidArgument\"} 1",
        "linkspan_rpc_duration_seconds_count{rpc=\"unknown\",code=\"Unimplemented\"} 1",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("run/linkspan.sock");
    let config = Grpc { socket: path.clone(), socket_group: None, max_message_bytes: 1 << 20 };
    let first = socket::bind(&config).expect("nobody is there");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(matches!(socket::bind(&config), Err(Error::SocketInUse { .. })));
    drop(first);
    let second = socket::bind(&config).expect("nobody answers any more");
    drop(second);
    std::fs::remove_file(&path).expect("it is there");
    std::fs::write(&path, "precious").expect("written");
    assert!(matches!(socket::bind(&config), Err(Error::NotASocket { .. })));
    let unknown =
        Grpc { socket: dir.path().join("other.sock"), socket_group: Some("no-such-group".into()), ..config };
    assert!(matches!(socket::bind(&unknown), Err(Error::NoSuchGroup { .. })));
}

#[tokio::test]
async fn a_directory_has_one_daemon() {
    let dir = tempfile::tempdir().expect("a directory");
    let held = lock::take(dir.path(), Duration::ZERO).await.expect("it is free");
    match lock::take(dir.path(), Duration::ZERO).await {
        Err(Error::Locked { holder, .. }) => assert_eq!(holder, std::process::id().to_string()),
        other => panic!("a second daemon got in: {other:?}"),
    }
    drop(held);
    lock::take(dir.path(), Duration::ZERO).await.expect("it is free again");
}

#[tokio::test]
async fn a_book_of_addresses_has_one_daemon_and_no_file_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let book = dir.path().join("run/network");
    let held = lock::take_itself(&book, Duration::ZERO).await.expect("it is free");
    assert!(matches!(lock::take_itself(&book, Duration::ZERO).await, Err(Error::Locked { .. })));
    assert_eq!(std::fs::read_dir(&book).expect("it is there").count(), 0);
    drop(held);
    lock::take_itself(&book, Duration::ZERO).await.expect("it is free again");
}
