//! Netlink, as much as a pod's network needs: requests with an answer, dumps, and batches.
//!
//! A netlink socket belongs for life to the network namespace it was opened in, so a thread that
//! enters a namespace only to open one may end at once. All calls block for microseconds; they run
//! on blocking threads.

pub(crate) mod changes;
pub(crate) mod filter;
pub(crate) mod message;
pub(crate) mod nft;
pub(crate) mod route;
mod sys;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, sendto,
    socket_with,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use message::{Header, Message, attributes};

/// The kernel answers while it handles the request; this only keeps a bug from hanging a thread.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The kernel fills at most 32 KiB of one answer.
const RECEIVE_BYTES: usize = 64 << 10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// A refusal by the kernel, with its own words where it has some (extended acknowledgement).
#[derive(Debug)]
pub(crate) struct Refused {
    errno: i32,
    words: Option<String>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.errno))?;
        match &self.words {
            Some(words) => write!(f, ": {words}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

/// The errno of an error from this module.
pub(crate) fn errno(error: &io::Error) -> Option<Errno> {
    let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<Refused>());
    refused.map(|refused| refused.errno).or(error.raw_os_error()).map(Errno::from_raw_os_error)
}

/// Runs `work` on a thread of its own inside the network namespace. The error is of entering it.
pub(crate) fn within<T: Send>(netns: &Path, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let file = File::open(netns)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("thread in network namespace panicked")))
    })
}

/// One netlink socket.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// rtnetlink (protocol 0) in the calling thread's network namespace.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(None)
    }

    /// rtnetlink in another network namespace.
    pub(crate) fn route_in(netns: &Path) -> io::Result<Self> {
        within(netns, Self::route)?
    }

    /// nfnetlink in the calling thread's network namespace.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(Some(netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        // Old kernels give plain error numbers instead.
        let _ = sys::ask_for_words(fd.as_fd());
        bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends one request and waits until the kernel has done it.
    pub(crate) fn request(&mut self, message: Message) -> io::Result<()> {
        let sequence = self.send_one(message, NLM_F_ACK)?;
        let mut done = Err(io::Error::other("netlink acknowledgement missing"));
        self.receive(sequence, |header, body| match header.kind {
            NLMSG_ERROR => {
                done = outcome(header, body);
                true
            }
            _ => false,
        })?;
        done
    }

    /// Sends one request and returns the bodies of its answers: one, or all of a dump.
    pub(crate) fn query(&mut self, message: Message, dump: bool) -> io::Result<Vec<Vec<u8>>> {
        let sequence = self.send_one(message, if dump { NLM_F_DUMP } else { NLM_F_ACK })?;
        let mut answers = Vec::new();
        let mut done = Ok(());
        self.receive(sequence, |header, body| match header.kind {
            NLMSG_ERROR => {
                done = outcome(header, body);
                true
            }
            NLMSG_DONE => true,
            _ => {
                answers.push(body.to_vec());
                false
            }
        })?;
        done.map(|()| answers)
    }

    /// Sends messages that hold together as one transaction, between the caller's own begin and
    /// end messages, and returns the first refusal.
    pub(crate) fn batch(&mut self, begin: Message, messages: Vec<Message>, end: Message) -> io::Result<()> {
        let first = self.sequence + 1;
        let expected = messages.len();
        let mut bytes = begin.finish(self.next(), 0);
        for message in messages {
            bytes.extend(message.finish(self.next(), NLM_F_ACK));
        }
        bytes.extend(end.finish(self.next(), 0));
        self.send(&bytes)?;
        // The kernel has handled the whole batch by now: all answers are queued.
        let (mut acknowledged, mut refusal) = (0, None);
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let length = match recv(&self.fd, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            };
            for (header, body) in message::split(&buffer[..length]) {
                if header.sequence < first || header.kind != NLMSG_ERROR {
                    continue;
                }
                match outcome(header, body) {
                    Ok(()) => acknowledged += 1,
                    Err(error) => refusal = refusal.or(Some(error)),
                }
            }
        }
        match refusal {
            Some(error) => Err(error),
            None if acknowledged < expected => {
                Err(io::Error::other(format!("netlink acknowledged {acknowledged} of {expected} messages")))
            }
            None => Ok(()),
        }
    }

    fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    fn send_one(&mut self, message: Message, flags: u16) -> io::Result<u32> {
        let sequence = self.next();
        self.send(&message.finish(sequence, flags))?;
        Ok(sequence)
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        sendto(&self.fd, bytes, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
        Ok(())
    }

    /// Hands on each answer to `sequence` until one is said to be the last.
    fn receive(&self, sequence: u32, mut last: impl FnMut(&Header, &[u8]) -> bool) -> io::Result<()> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        loop {
            let (length, _) = match recv(&self.fd, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                received => received?,
            };
            for (header, body) in message::split(&buffer[..length]) {
                // Answers to an older request that was given up are passed over.
                if header.sequence == sequence && last(&header, body) {
                    return Ok(());
                }
            }
        }
    }
}

/// What an `NLMSG_ERROR` says: zero is success.
fn outcome(header: impl std::borrow::Borrow<Header>, body: &[u8]) -> io::Result<()> {
    let header = header.borrow();
    let Some(code) = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) else {
        return Err(io::Error::other("netlink error message is cut short"));
    };
    if code == 0 {
        return Ok(());
    }
    let errno = -code;
    let refused = Refused { errno, words: words(header, body) };
    Err(io::Error::new(io::Error::from_raw_os_error(errno).kind(), refused))
}

fn words(header: &Header, body: &[u8]) -> Option<String> {
    if header.flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    // The refused request is repeated after the code: its header only, or all of it.
    let request = body.get(4..)?;
    let skip = if header.flags & NLM_F_CAPPED != 0 {
        message::HEADER_BYTES
    } else {
        usize::try_from(u32::from_ne_bytes(*request.first_chunk()?)).ok()?.next_multiple_of(4)
    };
    let text = attributes(request.get(skip..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?.1;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}
