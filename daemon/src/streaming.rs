//! The streaming server: the bytes of Exec, Attach and PortForward.
//!
//! An RPC answers a URL with a one-use token; the client (the kubelet for `kubectl exec`, or crictl itself) opens it here,
//! and the HTTP connection becomes a session.

pub(crate) mod request;
