//! Frames over `SOCK_SEQPACKET`: a message is one frame, and descriptors arrive with the frame they belong to.
//!
//! A message carries `J` and the JSON itself, or, past [`INLINE_LIMIT_BYTES`], `M` and the length, with the JSON in a
//! memfd that is the first descriptor: a packet must fit the peer's socket buffer (about 200 KiB by default, and
//! shared with packets not read yet), a command line need not.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

use super::SOCKET_NAME;

/// JSON up to this length travels in the packet itself.
pub const INLINE_LIMIT_BYTES: usize = 16 * 1024;
/// No frame may be longer; more than the kernel takes as arguments (6 MiB).
pub const PAYLOAD_LIMIT_BYTES: usize = 8 * 1024 * 1024;
/// Most descriptors of one packet: stdin, stdout, stderr and a memfd, and room to grow.
const MAX_FDS: usize = 8;

const INLINE: u8 = b'J';
const MEMFD: u8 = b'M';

/// A frame as it arrived.
#[derive(Debug)]
pub struct Frame {
    pub json: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

/// Sends one frame, whole or not at all.
///
/// # Errors
/// `WouldBlock` if the peer does not read; `InvalidInput` if the frame is too long; else the connection's.
pub fn send(socket: BorrowedFd<'_>, json: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if json.len() > PAYLOAD_LIMIT_BYTES || fds.len() >= MAX_FDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too long"));
    }
    if json.len() <= INLINE_LIMIT_BYTES {
        return send_packet(socket, &[IoSlice::new(&[INLINE]), IoSlice::new(json)], fds);
    }
    let memfd = memfd_of(json)?;
    let length = (json.len() as u64).to_le_bytes();
    let mut all = Vec::with_capacity(fds.len() + 1);
    all.push(memfd.as_fd());
    all.extend_from_slice(fds);
    send_packet(socket, &[IoSlice::new(&[MEMFD]), IoSlice::new(&length)], &all)
}

fn send_packet(socket: BorrowedFd<'_>, data: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    loop {
        match rustix::net::sendmsg(socket, data, &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Receives one frame; `None` when the peer has closed.
///
/// # Errors
/// `WouldBlock` if there is none; `InvalidData` for what is no frame; else the connection's.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Frame>> {
    let mut packet = vec![0; INLINE_LIMIT_BYTES + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        let mut iov = [IoSliceMut::new(&mut packet)];
        match rustix::net::recvmsg(socket, &mut iov, &mut control, flags) {
            Ok(received) => break received,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(invalid("a packet longer than any of ours"));
    }
    packet.truncate(received.bytes);
    match packet.first() {
        // We never send an empty packet: this is the end of the connection.
        None => Ok(None),
        Some(&INLINE) => {
            packet.remove(0);
            Ok(Some(Frame { json: packet, fds }))
        }
        Some(&MEMFD) if !fds.is_empty() => {
            let memfd = fds.remove(0);
            Ok(Some(Frame { json: read_memfd(&packet[1..], memfd)?, fds }))
        }
        Some(_) => Err(invalid("a packet of no known kind")),
    }
}

fn memfd_of(json: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create("linkspan-frame", MemfdFlags::CLOEXEC)?);
    file.write_all(json)?;
    Ok(file.into())
}

fn read_memfd(length: &[u8], memfd: OwnedFd) -> io::Result<Vec<u8>> {
    let length: [u8; 8] = length.try_into().map_err(|_| invalid("a memfd frame without its length"))?;
    let length = usize::try_from(u64::from_le_bytes(length)).map_err(|_| invalid("a frame too long"))?;
    if length > PAYLOAD_LIMIT_BYTES {
        return Err(invalid("a frame too long"));
    }
    let mut file = File::from(memfd);
    file.rewind()?;
    let mut json = vec![0; length];
    file.read_exact(&mut json)?;
    Ok(json)
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Two ends of a connection, close-on-exec and non-blocking.
///
/// # Errors
/// If there are no more descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?)
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// Listens at `<pod_dir>/monitor.sock`, mode 0600; a socket left there by a dead monitor is replaced.
///
/// # Errors
/// Those of the file system.
pub fn listen(pod_dir: &Path) -> io::Result<OwnedFd> {
    let (dir, short) = short_path(pod_dir)?;
    match rustix::fs::unlinkat(&dir, SOCKET_NAME, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
    // The mode before bind is the mode of the file, less the umask: nobody gets a moment to connect.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600))?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&short)?)?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

/// Connects to the monitor of a pod. Does not block: a listener with a full queue is an error.
///
/// # Errors
/// `NotFound` if there never was a monitor, `ConnectionRefused` if it is dead.
pub fn connect(pod_dir: &Path) -> io::Result<OwnedFd> {
    let (_dir, short) = short_path(pod_dir)?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(&short)?)?;
    Ok(socket)
}

/// A name of the socket that fits 108 bytes however long the directory's own is.
fn short_path(pod_dir: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(pod_dir, flags, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", dir.as_raw_fd()));
    Ok((dir, short))
}

#[cfg(test)]
mod tests;
