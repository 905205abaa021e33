//! Being told that something of a kind has changed in the network namespace, by whomever.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink, recv, socket_with};
use tokio::io::unix::AsyncFd;

use super::{RECEIVE_BYTES, sys};

/// `NFNLGRP_NFTABLES`, as a mask of groups.
const NFTABLES: u32 = 1 << (7 - 1);

/// Wakes its owner; what has changed is for the owner to look at.
#[derive(Debug)]
pub(crate) struct Changes {
    socket: AsyncFd<OwnedFd>,
}

impl Changes {
    /// Of nftables, in the calling thread's network namespace. Must be called inside a tokio runtime.
    pub(crate) fn of_nftables() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
        bind(&socket, &netlink::SocketAddrNetlink::new(0, NFTABLES))?;
        Ok(Self { socket: sys::register(socket)? })
    }

    /// Waits for the next change. Cancelling it loses none: it is told by the next call.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let mut seen = false;
        loop {
            let mut ready = self.socket.readable().await?;
            let read =
                ready.try_io(|socket| match recv(socket.as_fd(), &mut buffer[..], RecvFlags::empty()) {
                    // More than the socket holds: a change, whatever it was.
                    Ok(_) | Err(Errno::NOBUFS) => Ok(()),
                    Err(error) => Err(error.into()),
                });
            match read {
                // All that is there is read: a burst is one change.
                Ok(Ok(())) => seen = true,
                Ok(Err(error)) => return Err(error),
                Err(_) if seen => return Ok(()),
                Err(_) => {}
            }
        }
    }
}
