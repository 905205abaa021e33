//! The way from the command line to the running daemon.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use linkspan_config::{Place, Sources, load};
use linkspan_cri_api::v1::image_service_client::ImageServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::Error;
use crate::admin::admin_client::AdminClient;

/// Which daemon is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct DaemonFlags {
    /// The daemon's socket [default: the one that the configuration names].
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
    /// The daemon that was started with the same --prefix.
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "socket")]
    prefix: Option<PathBuf>,
}

/// Connections to the daemon; one channel for both services.
pub(super) struct Daemon {
    channel: Channel,
}

impl Daemon {
    /// # Errors
    /// [`Error::NoDaemon`] if nobody answers.
    pub(super) async fn connect(flags: &DaemonFlags) -> Result<Self, Error> {
        let socket = socket(flags)?;
        let channel = connect(&socket).await?;
        Ok(Self { channel })
    }

    pub(super) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    pub(super) fn images(&self) -> ImageServiceClient<Channel> {
        // As much as a daemon can be configured to send.
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }
}

fn socket(flags: &DaemonFlags) -> Result<PathBuf, Error> {
    if let Some(socket) = &flags.socket {
        return Ok(socket.clone());
    }
    let place = match &flags.prefix {
        None => Place::host(),
        Some(prefix) => Place::below(std::path::absolute(prefix).map_err(Error::io("finding", prefix))?),
    };
    let environment = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    Ok(load(&Sources { place, environment, ..Sources::default() })?.config.grpc.socket)
}

pub(crate) async fn connect(socket: &Path) -> Result<Channel, Error> {
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The authority that the kubelet sends too; a socket's path would be refused by HTTP/2.
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.map_err(|error| {
        let mut reason: &dyn std::error::Error = &error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        Error::NoDaemon { socket: socket.to_owned(), reason: reason.to_string() }
    })
}
