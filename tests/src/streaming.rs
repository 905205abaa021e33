//! A client of streaming URLs: the RPCs that give them, the upgrade by hand, the channels of a WebSocket, and a little
//! SPDY. By hand, so that tests can also say what no well-bred client says.

mod channels;
mod forwarding;
mod spdy;
mod upgrade;

pub use channels::{Channels, Ended, ReceivingChannels, SendingChannels, channel};
pub use forwarding::Forwarding;
pub use spdy::{Frame, Spdy};
pub use upgrade::{Answer, Url, ask, upgrade};

use linkspan_cri_api::v1;
use tonic::Status;

use crate::client::Runtime;

/// Which streams a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Streams {
    pub const OUTPUT: Streams = Streams { stdin: false, stdout: true, stderr: true, tty: false };
    pub const ALL: Streams = Streams { stdin: true, ..Streams::OUTPUT };
    pub const TERMINAL: Streams = Streams { stdin: true, stdout: true, stderr: false, tty: true };
}

/// Exec; the URL.
pub async fn exec_url(
    runtime: &mut Runtime,
    container_id: &str,
    command: &[&str],
    streams: Streams,
) -> Result<String, Status> {
    let request = v1::ExecRequest {
        container_id: container_id.to_owned(),
        cmd: command.iter().map(|word| (*word).to_owned()).collect(),
        tty: streams.tty,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    Ok(runtime.exec(request).await?.into_inner().url)
}

/// Attach; the URL.
pub async fn attach_url(
    runtime: &mut Runtime,
    container_id: &str,
    streams: Streams,
) -> Result<String, Status> {
    let request = v1::AttachRequest {
        container_id: container_id.to_owned(),
        stdin: streams.stdin,
        tty: streams.tty,
        stdout: streams.stdout,
        stderr: streams.stderr,
    };
    Ok(runtime.attach(request).await?.into_inner().url)
}

/// PortForward; the URL.
pub async fn port_forward_url(
    runtime: &mut Runtime,
    sandbox_id: &str,
    ports: &[u16],
) -> Result<String, Status> {
    let request = v1::PortForwardRequest {
        pod_sandbox_id: sandbox_id.to_owned(),
        port: ports.iter().map(|port| i32::from(*port)).collect(),
    };
    Ok(runtime.port_forward(request).await?.into_inner().url)
}
