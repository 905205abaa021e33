//! The threads that carry sessions. They are no one else's, and the others go before them: however much sessions move, a call
//! of the kubelet neither stands in a queue behind them nor waits for the processor.

use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::Error;

/// Enough to move some gigabytes a second.
const MOST: usize = 4;
/// Beside the daemon's other threads. What runs in containers is weighed against the daemon by its control group.
const NICE: i32 = 10;

/// Dropped, it leaves what still runs on them to itself.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// # Errors
    /// [`Error::Runtime`], if the kernel gives no thread or descriptor.
    pub(super) fn start() -> Result<Self, Error> {
        let count = available_parallelism().map_or(1, NonZero::get).min(MOST);
        let runtime = Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("streaming")
            .on_thread_start(|| {
                // Without it, calls are slower while sessions are busy.
                let _ = rustix::process::setpriority_process(None, NICE);
            })
            .enable_all()
            .build()
            .map_err(Error::Runtime)?;
        Ok(Self(Some(runtime)))
    }

    /// From now on, they hear of its connections.
    ///
    /// # Errors
    /// If the kernel refuses to watch it.
    pub(super) fn adopt(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let _here = self.runtime().enter();
        TcpListener::from_std(listener.into_std()?)
    }

    pub(super) fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime().spawn(work)
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is taken by the drop alone")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
