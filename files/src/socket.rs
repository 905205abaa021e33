//! Unix sockets that clients find by a path. Another server may want the same path: one that listens there is not
//! displaced, and what was not made here is not removed.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, fstat, lstat, renameat_with};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Who may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clients {
    pub mode: u32,
    /// By its number; `None`: the process's own.
    pub group: Option<u32>,
}

/// The place in the file system of a socket that was made here.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// The socket's own file, held so that its number goes to no other while this is compared with what is at the path.
    file: OwnedFd,
}

/// Listens on `path`, without blocking. A socket that nobody listens on any more, as a killed daemon leaves it, is replaced in
/// one step: there is no moment without one, and nobody finds it with other modes.
///
/// # Errors
/// `AddrInUse` if another server listens there; `AlreadyExists` if what is there is no socket; else those of the file system.
pub fn listen(path: &Path, clients: Clients) -> io::Result<(UnixListener, Place)> {
    let flags = match is_left_over(path)? {
        true => RenameFlags::empty(),
        // Whoever comes between is not displaced either.
        false => RenameFlags::NOREPLACE,
    };
    let new = beside(path);
    let _ = fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let publish = || {
        listener.set_nonblocking(true)?;
        fs::set_permissions(&new, Permissions::from_mode(clients.mode))?;
        if let Some(group) = clients.group {
            chown(&new, None, Some(group))?;
        }
        let file = rustix::fs::open(&new, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        match renameat_with(CWD, &new, CWD, path, flags) {
            Err(Errno::EXIST) => Err(io::ErrorKind::AddrInUse.into()),
            // A file system without that flag.
            Err(Errno::INVAL) => fs::rename(&new, path),
            renamed => Ok(renamed?),
        }?;
        Ok(Place { path: path.to_owned(), file })
    };
    match publish() {
        Ok(place) => Ok((listener, place)),
        Err(error) => {
            let _ = fs::remove_file(&new);
            Err(error)
        }
    }
}

impl Place {
    /// Removes the socket; `false` if it is gone, or another server's is in its place by now.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self) -> io::Result<bool> {
        let own = fstat(&self.file)?;
        match lstat(&self.path) {
            Ok(found) if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) => {
                fs::remove_file(&self.path).map(|()| true)
            }
            Ok(_) | Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Where the socket is until it is ready.
#[must_use]
pub fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(".new");
    path.with_file_name(name)
}

/// `false` if there is nothing.
fn is_left_over(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if is_listened_on(path)? => Err(io::ErrorKind::AddrInUse.into()),
        Ok(_) => Ok(true),
    }
}

/// Whether a process has the socket at `path` open and would be asked by a client. Does not wait for it.
///
/// # Errors
/// Those of connect(2) that say nothing about it, as `PermissionDenied`.
pub fn is_listened_on(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        // A server that is behind with its clients, and one of another type of socket.
        Err(Errno::AGAIN | Errno::PROTOTYPE) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
