//! What a plugin may send: the bodies of the fuzz targets in `fuzz/`. As property tests they run with all others.

#[path = "../../fuzz/structure.rs"]
mod structure;

use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};
use structure::{Anything, Choices, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use crate::api::{Container, ttrpc::Request};
use crate::api::{
    ContainerAdjustment, ContainerUpdate, FILE_DESCRIPTOR_SET, RegisterPluginRequest, UpdateContainersRequest,
};
use crate::connection::Connection;
use crate::merge::{Adjusting, Owners, Updating};
use crate::oci::{Host, adjust, describe};
use crate::plugin::check_name;
use crate::ttrpc::{Kind, encode};
use crate::{Error, mux};

/// Nothing here waits for anything but the peer, which says all at once and goes.
const HANGS: Duration = Duration::from_secs(5);
const CONTAINER: &str = "container-1";
const PLUGINS: [&str; 2] = ["10-one", "20-other"];

thread_local! {
    static RUNTIME: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    static NRI: Protocol = Protocol::new(FILE_DESCRIPTOR_SET);
}

/// A peer that sends `data`, as it is or as messages made of it, while we call it.
///
/// # Panics
/// If the connection does not end, or more waits than may.
pub fn connection(data: &[u8]) {
    let bytes = match data.split_first() {
        Some((first, script)) if first & 1 == 1 => messages(script),
        _ => data.to_vec(),
    };
    RUNTIME.with(|runtime| {
        let met = runtime.block_on(async { tokio::time::timeout(HANGS, meet(&bytes)).await });
        met.expect("a connection whose peer has gone ends");
    });
}

async fn meet(bytes: &[u8]) {
    let (ours, mut theirs) = UnixStream::pair().expect("descriptors");
    let (connection, mut asked) = Connection::start(ours);
    let peer = async {
        let (mut answers, mut to) = theirs.split();
        // Fails when we have heard enough.
        let say = async {
            let _ = to.write_all(bytes).await;
            let _ = to.shutdown().await;
        };
        let mut heard = Vec::new();
        let _ = tokio::join!(say, answers.read_to_end(&mut heard));
    };
    let (answer, ()) = tokio::join!(connection.call("service", "Method", Vec::new(), HANGS * 2), peer);
    connection.closed().await;
    let why = connection.why().expect("what has ended has a reason").to_string();
    assert!(!why.is_empty() && why.len() < 1000, "{} bytes of reason", why.len());
    if let Ok(answer) = answer {
        assert!(answer.len() <= bytes.len());
    }
    let mut waiting = 0;
    while let Ok(asked) = asked.try_recv() {
        waiting += 1;
        assert!(asked.stream % 2 == 1, "a request on stream {}", asked.stream);
        register(&asked.request);
    }
    assert!(waiting <= 16, "{waiting} requests wait");
}

fn register(request: &Request) {
    if let Ok(register) = RegisterPluginRequest::decode(&*request.payload)
        && check_name(&register.plugin_idx, &register.plugin_name).is_ok()
    {
        assert!(!register.plugin_name.contains(['/', '\n']), "{register:?}");
    }
    let _ = UpdateContainersRequest::decode(&*request.payload);
}

/// Each is made of a kind, a stream, a length and that many bytes of `script`.
fn messages(script: &[u8]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), script);
    while let [kind, stream, length, tail @ ..] = rest {
        let (payload, further) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = further;
        let stream = u32::from(*stream);
        let request = || {
            let (service, method) = ("nri.pkg.api.v1alpha1.Runtime".to_owned(), "RegisterPlugin".to_owned());
            Request { service, method, payload: payload.to_vec(), ..Request::default() }.encode_to_vec()
        };
        bytes.extend(match kind % 6 {
            0 => mux::frames(mux::PLUGIN_SERVICE, &encode(Kind::Response, stream, payload)),
            1 => mux::frames(mux::RUNTIME_SERVICE, &encode(Kind::Request, stream, payload)),
            2 => mux::frames(mux::RUNTIME_SERVICE, &encode(Kind::Request, stream, &request())),
            3 => mux::frames(mux::PLUGIN_SERVICE, &encode(Kind::Request, stream, payload)),
            // Cut in the middle of a message.
            4 => mux::frames(mux::RUNTIME_SERVICE, payload),
            _ => mux::frames(stream, payload),
        });
    }
    bytes
}

/// Adjustments and updates that two plugins want, of any valid structure, merged and applied to a container's spec.
///
/// # Panics
/// If an error names neither of them, or what comes out is no spec.
pub fn adjustment(data: &[u8]) {
    let mut choices = Choices(data);
    let host = Host { cgroup_v2: choices.next() & 1 == 1, swap: true, hugetlb: true };
    let mut spec = spec();
    let container = Container { id: CONTAINER.to_owned(), ..describe(&spec) };
    let (mut adjusting, mut updating, mut owners) =
        (Adjusting::new(container), Updating::default(), Owners::default());
    for plugin in PLUGINS {
        let wanted: ContainerAdjustment = message("ContainerAdjustment", &mut choices);
        if let Err(error) = adjusting.take(&mut owners, plugin, wanted) {
            return named(&error);
        }
        let wanted: ContainerUpdate = message("ContainerUpdate", &mut choices);
        if let Err(error) = updating.take(&mut owners, plugin, vec![wanted], Some(CONTAINER), None) {
            return named(&error);
        }
    }
    assert!(updating.into_updates().iter().all(|merged| !merged.plugins.is_empty()));
    match adjust(&mut spec, CONTAINER, &adjusting.adjust, &owners, host) {
        Err(error) => named(&error),
        Ok(()) => {
            assert!(
                spec["process"].is_object() && spec["linux"].is_object() && spec["mounts"].is_array(),
                "{spec}"
            );
            let _ = describe(&spec);
        }
    }
}

fn message<M: prost::Message + Default>(name: &str, choices: &mut Choices<'_>) -> M {
    let wire = NRI.with(|nri| nri.message(&format!(".nri.pkg.api.v1alpha1.{name}"), choices, &Anything));
    M::decode(&*wire).expect("a message that keeps to its descriptor is read")
}

fn named(error: &Error) {
    let text = error.to_string();
    assert!(PLUGINS.iter().any(|plugin| text.contains(plugin)), "{text:?} names no plugin");
}

fn spec() -> Value {
    json!({
        "ociVersion": "1.3.0", "annotations": { "given": "x" },
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "process": { "args": ["given"], "env": ["PATH=/bin"], "user": { "uid": 1, "gid": 2 } },
        "linux": { "cgroupsPath": "/pod/c", "namespaces": [{ "type": "pid" }],
            "resources": { "memory": { "limit": 10, "swap": 10 }, "cpu": { "shares": 2 } } },
    })
}

#[cfg(test)]
mod tests;
