//! The CRI socket in the file system.

use std::fs;
use std::io;
use std::path::Path;

use linkspan_config::Grpc;
use linkspan_files::socket::{Clients, Place, listen};
use tokio::net::UnixListener;

use crate::Error;

/// Listens on the configured path. A socket that an earlier daemon left is replaced in one step; a socket that somebody
/// listens on, an engine that was given the same path, is left alone.
pub(super) fn bind(config: &Grpc) -> Result<(UnixListener, Place), Error> {
    let path = &config.socket;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io("making directory", dir))?;
    }
    let group = config.socket_group.as_deref().map(group_id).transpose()?;
    let (listener, place) =
        listen(path, Clients { mode: 0o660, group }).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::SocketInUse { path: path.clone() },
            io::ErrorKind::AlreadyExists => Error::NotASocket { path: path.clone() },
            _ => Error::io("listening on", path)(error),
        })?;
    let listener = UnixListener::from_std(listener).map_err(Error::io("listening on", path))?;
    Ok((listener, place))
}

/// After the last call. Somebody else's by now, or gone: no matter.
pub(super) fn remove(place: &Place) {
    match place.remove() {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!("the socket was removed or replaced by somebody else while this daemon ran")
        }
        Err(error) => tracing::debug!(%error, "the socket was not removed"),
    }
}

/// By number, or by name from /etc/group: the socket is the node's own business, no directory service is asked.
fn group_id(group: &str) -> Result<u32, Error> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let path = Path::new("/etc/group");
    let text = fs::read_to_string(path).map_err(Error::io("reading", path))?;
    text.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&group))
        .and_then(|fields| fields.get(2)?.parse().ok())
        .ok_or_else(|| Error::NoSuchGroup { group: group.to_owned() })
}
