//! `linkspan-monitor`: parent and subreaper of all that runs in one pod.
//!
//! One epoll loop, no async runtime. It runs the OCI runtime's `create` and `exec`, makes lines of the containers' output,
//! keeps their exit codes, and goes on when the daemon is gone. A second thread writes the logs: the loop waits for no disk.
//!
//! ```text
//! daemon ──socket── connection ─▶ pod/calls ─▶ pod/{create,exec,pause,shutdown}
//!                                                │ runtime_call (the runtime's run) ─▶ console
//! pipes, terminals ─▶ pod/output ─▶ log          ▼
//!                                    └─▶ log/writer, the second thread
//! pidfds ──────────────────────────▶ pod/exit ─▶ exit record, then event
//! ```

mod args;
mod connection;
mod console;
mod log;
mod note;
mod oom;
mod outlet;
mod pod;
mod poll;
mod runtime_call;
mod setup;
mod sys;
mod tree;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::parse(std::env::args_os().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("linkspan-monitor: {message}");
            return ExitCode::from(2);
        }
    };
    match setup::enter(args).and_then(pod::Pod::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            note::note(&e.to_string());
            ExitCode::FAILURE
        }
    }
}
