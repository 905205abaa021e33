//! From a connection to a plugin that takes part, and on to its end.
//!
//! ```text
//! connected ─RegisterPlugin─▶ named ─Configure─▶ subscribed ─Synchronize─▶ takes part ─▶ disconnected
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use crate::api::{Empty, RegisterPluginRequest, UpdateContainersRequest, UpdateContainersResponse};
use crate::connection::{Asked, Connection, UNIMPLEMENTED};
use crate::error::{Ended, Nonsense};
use crate::hub::Inner;
use crate::launch::Launched;
use crate::plugin::{Plugin, check_name};

const SERVICE: &str = "nri.pkg.api.v1alpha1.Runtime";
const INVALID_ARGUMENT: i32 = 3;
const FAILED_PRECONDITION: i32 = 9;

/// Follows one connection to its end. `launched`: who it is, of one that we started.
pub(crate) async fn run(inner: Arc<Inner>, socket: UnixStream, launched: Option<Launched>) {
    let (connection, mut asked) = Connection::start(socket);
    let closing = inner.closing.clone();
    let life = live(&inner, &connection, &mut asked, launched);
    if closing.run_until_cancelled(life).await.is_none() {
        // The hub takes leave of those that take part.
        let patience = inner.deadlines().request;
        let _ = tokio::time::timeout(patience, connection.closed()).await;
        connection.close(Ended::ByUs);
    }
}

async fn live(
    inner: &Arc<Inner>,
    connection: &Arc<Connection>,
    asked: &mut mpsc::Receiver<Asked>,
    launched: Option<Launched>,
) {
    let deadlines = inner.deadlines();
    let known_as = launched.as_ref().map_or("unnamed", |launched| launched.base.as_str());
    let named =
        tokio::time::timeout(deadlines.registration, name(inner, connection, asked, launched.as_ref()));
    let plugin = match named.await {
        Ok(Ok(plugin)) => plugin,
        Ok(Err(why)) => return refuse(connection, known_as, why),
        Err(_) => {
            let why =
                Ended::Late { call: "the connection with RegisterPlugin", after: deadlines.registration };
            return refuse(connection, known_as, why);
        }
    };
    let (config, takes_part) = match launched {
        Some(Launched { config, ready, .. }) => (config, ready),
        None => (String::new(), None),
    };
    // It may ask for something meanwhile, and is told to wait.
    let ready = tokio::select! {
        ready = take_part(inner, &plugin, config) => ready,
        () = refuse_early(inner, connection, asked) => Ok(()),
    };
    match ready {
        Ok(()) if plugin.is_connected() => {
            tracing::info!(plugin = plugin.name(), "NRI plugin connected");
            drop(takes_part);
            serve(inner, connection, &plugin, asked).await;
        }
        Ok(()) => {}
        Err(error) => plugin.close(Ended::Unfit(error.to_string())),
    }
    inner.sweep().await;
    let why = connection.why().cloned().unwrap_or(Ended::ByUs);
    match why {
        Ended::ByUs | Ended::ByPeer => {
            tracing::info!(plugin = plugin.name(), %why, "NRI plugin disconnected")
        }
        why => tracing::warn!(plugin = plugin.name(), %why, "NRI plugin disconnected"),
    }
}

/// Before anybody else has heard of it.
fn refuse(connection: &Connection, plugin: &str, why: Ended) {
    tracing::warn!(plugin, %why, "NRI plugin disconnected");
    connection.close(why);
}

/// Waits for its first request, which must be RegisterPlugin.
async fn name(
    inner: &Inner,
    connection: &Arc<Connection>,
    asked: &mut mpsc::Receiver<Asked>,
    launched: Option<&Launched>,
) -> Result<Arc<Plugin>, Ended> {
    let deadline = inner.deadlines().request;
    let ended = || connection.why().cloned().unwrap_or(Ended::ByPeer);
    let Asked { stream, request } = asked.recv().await.ok_or_else(ended)?;
    if request.service != SERVICE || request.method != "RegisterPlugin" {
        let words = format!("{}/{} before RegisterPlugin", request.service, request.method);
        connection.answer(stream, Err((FAILED_PRECONDITION, words.clone())), deadline).await;
        return Err(Ended::Unfit(format!("it called {words}")));
    }
    let register = RegisterPluginRequest::decode(&*request.payload)
        .map_err(|error| Nonsense::NotAMessage { what: "RegisterPlugin", reason: error.to_string() })?;
    let (index, base) = match launched {
        // It is who we said it is.
        Some(launched) => (launched.index.clone(), launched.base.clone()),
        None => (register.plugin_idx, register.plugin_name),
    };
    if let Err(reason) = check_name(&index, &base) {
        connection.answer(stream, Err((INVALID_ARGUMENT, reason.clone())), deadline).await;
        return Err(Ended::Unfit(reason));
    }
    connection.answer(stream, Ok(Empty {}.encode_to_vec()), deadline).await;
    Ok(Arc::new(Plugin::new(index, base, Arc::clone(connection), deadline)))
}

/// Configures and synchronizes it. No event is delivered to anybody between the moment that it is told of all there is
/// and the moment that it takes part.
async fn take_part(inner: &Arc<Inner>, plugin: &Arc<Plugin>, config: String) -> Result<(), crate::Error> {
    plugin.configure(config, inner.deadlines()).await?;
    let Some(runtime) = inner.runtime.get() else { return Ok(()) };
    let updates = {
        let mut plugins = inner.plugins.lock().await;
        // Before we look: whatever changes without an event being told is seen by us.
        inner.count.store(plugins.len() + 1, Ordering::SeqCst);
        let (pods, containers) = runtime.objects().await;
        let updates = plugin.synchronize(pods, containers).await;
        if updates.is_ok() {
            let at = plugins.partition_point(|other| other.index <= plugin.index);
            plugins.insert(at, Arc::clone(plugin));
        }
        inner.count.store(plugins.len(), Ordering::SeqCst);
        updates?
    };
    if !updates.is_empty() {
        runtime.update(&plugin.name(), updates, Vec::new()).await;
    }
    Ok(())
}

/// Ends with the connection.
async fn refuse_early(inner: &Inner, connection: &Connection, asked: &mut mpsc::Receiver<Asked>) {
    while let Some(Asked { stream, request }) = asked.recv().await {
        let words = format!("{} before the plugin is synchronized", request.method);
        connection.answer(stream, Err((FAILED_PRECONDITION, words)), inner.deadlines().request).await;
    }
}

/// Answers its requests until the connection ends.
async fn serve(inner: &Inner, connection: &Connection, plugin: &Plugin, asked: &mut mpsc::Receiver<Asked>) {
    while let Some(Asked { stream, request }) = asked.recv().await {
        let answer = match (request.service.as_str(), request.method.as_str()) {
            (SERVICE, "UpdateContainers") => match UpdateContainersRequest::decode(&*request.payload) {
                Ok(wanted) => Ok(update(inner, plugin, wanted).await.encode_to_vec()),
                Err(error) => {
                    connection.nonsense("UpdateContainers", &error);
                    return;
                }
            },
            (service, method) => Err((UNIMPLEMENTED, format!("no call {service}/{method}"))),
        };
        connection.answer(stream, answer, inner.deadlines().request).await;
    }
}

async fn update(inner: &Inner, plugin: &Plugin, wanted: UpdateContainersRequest) -> UpdateContainersResponse {
    let failed = match inner.runtime.get() {
        Some(runtime) => runtime.update(&plugin.name(), wanted.update, wanted.evict).await,
        None => wanted.update,
    };
    UpdateContainersResponse { failed }
}
