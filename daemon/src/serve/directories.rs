//! The daemon's two directories. Whatever is in them is closed by whom it belongs to; here it is about themselves.
//!
//! One that is the daemon's alone is closed at each start, whoever made it and whatever its mode was. One that holds other
//! things too, `/srv` or a disk with more on it, is somebody else's: its own mode stays.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use linkspan_config::Config;
use linkspan_files::{Access, make_dir};

use super::lock;
use crate::Error;

/// What there is below `root_dir`. The last one comes with a file system.
const BELOW_ROOT_DIR: [&str; 6] = ["images", "state", "volumes", "checkpoints", lock::NAME, "lost+found"];
/// What there is below `run_dir`, beside the CRI socket.
const BELOW_RUN_DIR: [&str; 3] = ["pods", "runtimes", lock::NAME];

/// Makes those that are missing, and closes what is the daemon's alone. Blocking, short.
pub(super) fn prepare(config: &Config) -> Result<(), Error> {
    let socket = &config.grpc.socket;
    let below_run_dir = |path: &Path| {
        is_one_of(path, &BELOW_RUN_DIR)
            || path == socket
            || path == linkspan_files::socket::beside(socket)
            || path == config.network.builtin_dir
    };
    // Clients of the socket, and users of pods with a user namespace, go through it.
    prepare_one(&config.run_dir, Access::Passable, below_run_dir)?;
    prepare_one(&config.root_dir, Access::Private, |path| is_one_of(path, &BELOW_ROOT_DIR))
}

fn prepare_one(dir: &Path, access: Access, is_ours: impl Fn(&Path) -> bool) -> Result<(), Error> {
    let making = || Error::io("making directory", dir);
    match foreign(dir, is_ours) {
        Ok(None) => make_dir(dir, access).map_err(making()),
        Ok(Some(found)) => {
            tracing::warn!(
                path = %dir.display(),
                found = %found.display(),
                "directory is shared with others: its own mode stays as it is, what is the daemon's in it is closed"
            );
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Those above it are nobody's in particular.
            dir.parent().map_or(Ok(()), fs::create_dir_all).map_err(making())?;
            make_dir(dir, access).map_err(making())
        }
        Err(error) => Err(Error::io("listing", dir)(error)),
    }
}

/// Something in `dir` that the daemon never puts there.
fn foreign(dir: &Path, is_ours: impl Fn(&Path) -> bool) -> io::Result<Option<PathBuf>> {
    let paths = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    Ok(paths.into_iter().find(|path| !is_ours(path)))
}

fn is_one_of(path: &Path, names: &[&str]) -> bool {
    names.iter().any(|name| path.file_name() == Some(OsStr::new(name)))
}

#[cfg(test)]
mod tests;
