//! Exec, Attach and PortForward.

use linkspan_cri_api::v1;
use linkspan_pod_sandbox::StreamSet;

use super::field::BadField;

/// The streams of an Exec.
pub(crate) fn exec(request: &v1::ExecRequest) -> Result<StreamSet, BadField> {
    let &v1::ExecRequest { stdin, stdout, stderr, tty, .. } = request;
    streams(StreamSet { stdin, stdout, stderr, tty })
}

/// The streams of an Attach.
pub(crate) fn attach(request: &v1::AttachRequest) -> Result<StreamSet, BadField> {
    let &v1::AttachRequest { stdin, stdout, stderr, tty, .. } = request;
    streams(StreamSet { stdin, stdout, stderr, tty })
}

/// CRI api.proto, ExecRequest and AttachRequest: at least one stream; a terminal's errors are part of its output.
fn streams(streams: StreamSet) -> Result<StreamSet, BadField> {
    if streams.tty && streams.stderr {
        return Err(BadField::new("stderr", "cannot be separate with `tty`: a terminal has one output"));
    }
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return Err(BadField::new("stdin", "one of `stdin`, `stdout` and `stderr` must be set"));
    }
    Ok(streams)
}

/// CRI api.proto, AttachRequest: "This must match the TTY setting in the ContainerConfig."
pub(crate) fn same_tty(streams: StreamSet, container: bool) -> Result<(), BadField> {
    if streams.tty == container {
        return Ok(());
    }
    Err(BadField::new("tty", format!("is {}, and the container was created with {container}", streams.tty)))
}

/// Ports that may be forwarded. None at all is fine: SPDY clients name them later (CRI api.proto, PortForwardRequest).
pub(crate) fn ports(ports: &[i32]) -> Result<Vec<u16>, BadField> {
    let port = |(index, &port): (usize, &i32)| match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(BadField::new(format!("port[{index}]"), format!("{port} is not from 1 to 65535"))),
    };
    ports.iter().enumerate().map(port).collect()
}

#[cfg(test)]
mod tests;
