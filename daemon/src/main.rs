//! `linkspan`: the daemon and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    linkspan_daemon::cli::main()
}
