//! `linkspan serve`: from a configuration to a running server, and back down again.

mod connections;
mod directories;
mod lock;
mod socket;

use std::time::Duration;

use linkspan_child::open_files;
use linkspan_config::Loaded;
use linkspan_cri_api::v1::image_service_server::ImageServiceServer;
use linkspan_cri_api::v1::runtime_service_server::RuntimeServiceServer;
use rustix::fs::Mode;
use sd_notify::NotifyState;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tonic::service::Routes;
use tower::Layer as _;

use crate::Error;
use crate::admin::admin_server::AdminServer;
use crate::admin_service::Admin;
use crate::app::App;
use crate::call::CallLayer;
use crate::follow;
use crate::image_service::ImageStore;
use crate::runtime_service::Runtime;
use crate::streaming;

/// How long calls under way may still take once the daemon is told to end. What they began goes on by itself or is
/// found again at the next start.
const GRACE: Duration = Duration::from_secs(10);

/// How long an earlier daemon, killed or told to end, may still hold the directories.
const PATIENCE: Duration = Duration::from_secs(3);

/// Serves until SIGTERM or SIGINT. Pods keep running.
///
/// # Errors
/// Whatever keeps the daemon from starting: a second daemon on the same directories, a socket that cannot be made,
/// a store that cannot be opened.
pub async fn serve(loaded: Loaded) -> Result<(), Error> {
    raise_open_files();
    crate::sys::tune_allocator();
    // Fails only if it is done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;

    // What others are to see, containers, runtimes and CNI plugins, is made as they are used to; what is the daemon's own
    // does not depend on it.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let config = &loaded.config;
    directories::prepare(config)?;
    let _locks =
        [lock::take(&config.root_dir, PATIENCE).await?, lock::take(&config.run_dir, PATIENCE).await?];
    // Two daemons with one book of addresses would each take away those of the other's pods.
    let _addresses = match config.network.builtin {
        true => Some(lock::take_itself(&config.network.builtin_dir, PATIENCE).await?),
        false => None,
    };
    let metrics_listener = match config.metrics.listen {
        None => None,
        Some(address) => {
            Some(TcpListener::bind(address).await.map_err(|source| Error::Metrics { address, source })?)
        }
    };
    // Bound before the pods are opened, so that a taken socket is found out before anything is touched, and a client
    // that comes early waits instead of failing.
    let (listener, place) = socket::bind(&config.grpc)?;
    let streaming = streaming::Server::bind(&config.streaming).await?;
    let app = App::open(loaded, streaming.desk()).await?;
    let streaming = streaming.start(app.metrics.clone(), streaming::speak(&app));
    let metrics = metrics_listener.map(|listener| crate::metrics::start(listener, app.metrics.clone()));
    tracing::info!(
        version = crate::VERSION,
        socket = %app.config.grpc.socket.display(),
        streaming = app.desk.base_url(),
        root_dir = %app.config.root_dir.display(),
        run_dir = %app.config.run_dir.display(),
        runtime_handler = app.config.runtime.default,
        "ready"
    );
    notify(NotifyState::Ready);

    let ended = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending; pods keep running");
        notify(NotifyState::Stopping);
    };
    run(&app, listener, ended).await;
    socket::remove(&place);
    // Sessions that are cut off by us are not clients that leave: a container's input goes on.
    app.pods.begin_shutdown();
    streaming.end().await;
    if let Some(metrics) = metrics {
        metrics.end().await;
    }
    app.close(GRACE).await;
    Ok(())
}

/// Serves on `listener` until `ended`, and then lets the calls under way end, for a while.
pub(crate) async fn run(app: &App, listener: UnixListener, ended: impl Future<Output = ()>) {
    let most = app.config.grpc.max_message_bytes;
    let (ending, mut hears) = (app.ending.clone(), app.ending.subscribe());
    let ended = async move {
        ended.await;
        ending.send_replace(true);
    };
    let services = Routes::default()
        .add_service(
            RuntimeServiceServer::new(Runtime { app: app.clone() })
                .max_decoding_message_size(most)
                .max_encoding_message_size(most),
        )
        .add_service(
            ImageServiceServer::new(ImageStore { app: app.clone() })
                .max_decoding_message_size(most)
                .max_encoding_message_size(most),
        )
        .add_service(AdminServer::new(Admin { app: app.clone() }))
        .prepare();
    let calls = CallLayer { metrics: app.metrics.clone() }.layer(services);
    let server = connections::serve(listener, calls, ended);
    let too_late = async {
        follow::ended(&mut hears).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = server => {}
        () = too_late => tracing::warn!(grace = ?GRACE, "calls were still under way and are left"),
    }
}

/// Each pod and each streaming session holds descriptors, and what service managers give is soon used up.
fn raise_open_files() {
    match open_files::raise() {
        Ok(limit) => tracing::debug!(limit = limit.soft, "limit of open files"),
        Err(error) => tracing::warn!(
            %error,
            limit = open_files::limit().soft,
            "raising the limit of open files failed; with many pods or sessions it will be reached"
        ),
    }
}

/// Tells systemd; without systemd, nobody.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests;
