//! The CRI socket in the file system.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use linkspan_config::Grpc;
use tokio::net::{UnixListener, UnixStream};

use crate::Error;

/// Listens on the configured path. A socket that an earlier daemon left is replaced in one step, so that there is
/// no moment without one; a socket that somebody answers on is left alone.
pub(super) async fn bind(config: &Grpc) -> Result<UnixListener, Error> {
    let path = &config.socket;
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io("making directory", dir))?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("looking at", path)(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.clone() });
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(Error::SocketInUse { path: path.clone() });
        }
        Ok(_) => {}
    }
    // Mode and owner are right before anybody can find it.
    let new = beside(path);
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new).map_err(Error::io("binding", &new))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o660))
        .map_err(Error::io("changing mode of", &new))?;
    if let Some(group) = &config.socket_group {
        std::os::unix::fs::chown(&new, None, Some(group_id(group)?))
            .map_err(Error::io("changing group of", &new))?;
    }
    fs::rename(&new, path).map_err(Error::io("moving into place", path))?;
    Ok(listener)
}

/// After the last call. Somebody else's by now, or gone: no matter.
pub(super) fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, path = %path.display(), "the socket was not removed");
    }
}

pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
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
