//! Port-forward: connections of a client joined to TCP connections into a pod.
//!
//! - [`over_spdy`]: each connection is a pair of streams, one for data and one for an error, that arrive in any order (`pairs.rs`); any number at once.
//!   A port that cannot be reached is an error of its pair, and the session goes on.
//! - [`over_channels`]: one connection for each port that the request named, on two channels each, from the beginning.
//!
//! Source: k8s.io/cri-streaming v0.37 `portforward`.

mod channels;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzz;
mod pairs;
mod relay;
mod spdy;

use std::future::Future;
use std::sync::Arc;

use linkspan_pod_sandbox::Error;
use linkspan_pod_sandbox::model::SandboxId;
use tokio::net::TcpStream;

use super::room::{Connection, Place};

pub(crate) use channels::over_channels;
pub(crate) use spdy::over_spdy;

/// Where a client's connections go.
#[derive(Clone)]
pub(crate) struct Target<C> {
    pub(crate) sandbox: SandboxId,
    pub(crate) connect: C,
    /// Of the session: each connection takes its part of it.
    pub(crate) place: Arc<Place>,
}

/// Connects to a port of a pod.
pub(crate) trait Connect: Clone + Send + Sync + 'static {
    fn connect(&self, port: u16) -> impl Future<Output = Result<TcpStream, Error>> + Send;
}

impl<C: Connect> Target<C> {
    /// The connection, with its place among all of them; or what a client reads on its error stream.
    async fn connect(&self, port: u16) -> Result<(TcpStream, Connection), String> {
        let place = self.place.connection().map_err(|full| self.error(port, full))?;
        let pod = self.connect.connect(port).await.map_err(|error| self.error(port, error))?;
        Ok((pod, place))
    }

    /// What a client reads on its error stream.
    fn error(&self, port: u16, error: impl std::fmt::Display) -> String {
        format!("error forwarding port {port} to pod {}: {error}", self.sandbox)
    }
}

#[cfg(test)]
mod tests;
