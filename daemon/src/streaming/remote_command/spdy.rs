//! The streams of a remote command in a SPDY session.

use std::future::Future;
use std::time::Duration;

use linkspan_pod_sandbox::StreamSet;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

use super::{BoxRead, BoxWrite, Client, EndSink, Version};
use crate::streaming::budget::Pool;
use crate::streaming::spdy::{Incoming, Session, Stream};

/// As the kubelet's server has it.
const OPENING: Duration = Duration::from_secs(30);

/// Waits for the client's streams and gives them to `work`. Resolves when the work is done and the session closed, or when the client
/// does not open its streams in time.
pub(crate) async fn over_spdy<W>(
    mut session: Session,
    version: Version,
    streams: StreamSet,
    work: impl FnOnce(Client) -> W,
) where
    W: Future<Output = ()>,
{
    let gone = CancellationToken::new();
    let collected = tokio::time::timeout(OPENING, collect(&mut session, Wanted::new(streams, version))).await;
    let Ok(Some(opened)) = collected else {
        tracing::debug!(in_time = collected.is_ok(), "the client left before it had opened its streams");
        return session.close().await;
    };
    let client = opened.into_client(version, gone.clone(), session.pool().clone()).await;
    tokio::select! {
        () = work(client) => {}
        () = async { refuse_more(&mut session).await; gone.cancel(); std::future::pending().await } => {}
    }
    if !gone.is_cancelled() {
        session.close().await;
    }
}

/// Resolves when the session is over.
async fn refuse_more(session: &mut Session) {
    while let Some(incoming) = session.accept().await {
        incoming.refuse();
    }
}

async fn collect(session: &mut Session, wanted: Wanted) -> Option<Opened> {
    let mut opened = Opened::default();
    while !opened.complete(wanted) {
        opened.take(session.accept().await?);
    }
    Some(opened)
}

/// What has to be there before anything begins, beside the error stream.
#[derive(Clone, Copy)]
struct Wanted {
    streams: StreamSet,
    resize: bool,
}

impl Wanted {
    fn new(streams: StreamSet, version: Version) -> Self {
        Self { streams, resize: streams.tty && version >= Version::V3 }
    }
}

/// The streams that the client has opened, one of each type.
#[derive(Default)]
struct Opened {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Opened {
    fn complete(&self, Wanted { streams, resize }: Wanted) -> bool {
        self.error.is_some()
            && (self.stdin.is_some() || !streams.stdin)
            && (self.stdout.is_some() || !streams.stdout)
            && (self.stderr.is_some() || !streams.stderr || streams.tty)
            && (self.resize.is_some() || !resize)
    }

    fn take(&mut self, incoming: Incoming) {
        let place = match incoming.header("streamtype") {
            Some("error") => &mut self.error,
            Some("stdin") => &mut self.stdin,
            Some("stdout") => &mut self.stdout,
            Some("stderr") => &mut self.stderr,
            Some("resize") => &mut self.resize,
            _ => return incoming.refuse(),
        };
        match place {
            None => *place = Some(incoming.accept()),
            Some(_) => incoming.refuse(),
        }
    }

    async fn into_client(self, version: Version, gone: CancellationToken, pool: Pool) -> Client {
        let mut others = Vec::new();
        let mut stdin = None;
        if let Some(stream) = self.stdin {
            let (from, mut to) = tokio::io::split(stream);
            stdin = Some(Box::new(from) as BoxRead);
            if version == Version::V1 {
                // The first version's server ends its side of stdin at once; later ones when all is over.
                let _ = to.shutdown().await;
            }
            others.push(Box::new(to) as BoxWrite);
        }
        let boxed = |stream| Box::new(stream) as BoxWrite;
        Client {
            stdin,
            stdout: self.stdout.map(boxed),
            stderr: self.stderr.map(boxed),
            resize: self.resize.map(|stream| Box::new(stream) as BoxRead),
            end: EndSink { stream: boxed(self.error.expect("it is always waited for")), version, others },
            gone,
            pool,
        }
    }
}
