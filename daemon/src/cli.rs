//! The commands of `linkspan`.

pub(crate) mod client;
mod explain;
mod image;
mod operations;
mod progress;
mod status;

use std::future::Future;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use linkspan_config::load;
use tokio::runtime::Builder;

use crate::config_command::{self, ConfigCommand};
use crate::config_flags::ConfigFlags;
use crate::{Error, check, logging, serve};

/// A CRI server for Linux nodes: the bridge between the kubelet and OCI runtimes.
#[derive(Debug, Parser)]
#[command(name = "linkspan", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon.
    Serve {
        #[command(flatten)]
        config: ConfigFlags,
    },
    /// Print or check the configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
        #[command(flatten)]
        config: ConfigFlags,
    },
    /// Inspect this host: what pods need, what is missing, how to mend it.
    Check {
        #[command(flatten)]
        config: ConfigFlags,
    },
    /// Show the running daemon.
    Status {
        #[command(flatten)]
        daemon: client::DaemonFlags,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Show what is under way instead: each operation, for how long, in which stages, and how it failed.
        #[arg(long)]
        operations: bool,
    },
    /// Say why a pod or container is as it is: what is under way, what it waits for, what it holds.
    Explain {
        #[command(flatten)]
        daemon: client::DaemonFlags,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// A pod's or container's ID, or the beginning of one; or a pod's name, with its namespace or without.
        id: String,
    },
    /// Pull, load, list, inspect and remove images.
    Image {
        #[command(subcommand)]
        command: image::ImageCommand,
        #[command(flatten)]
        daemon: client::DaemonFlags,
    },
}

/// Runs the command that the process was called with.
pub fn main() -> ExitCode {
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("linkspan: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The derived command, with `config`'s flags also after `show` and its like.
fn command() -> clap::Command {
    Cli::command().mut_subcommand("config", |config| config.mut_args(|flag| flag.global(true)))
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Serve { config } => {
            let loaded = load(&config.sources)?;
            logging::start(&loaded.config.log)?;
            run_on(Builder::new_multi_thread(), serve::serve(loaded))?
        }
        Command::Config { command, config } => print(&config_command::run(command, &config.sources)?),
        Command::Check { config } => {
            let config = load(&config.sources)?.config;
            let findings = run_client(check::run(&config))?;
            print(&check::render(&findings))?;
            if check::is_wrong(&findings) { Err(Error::CheckFailed) } else { Ok(()) }
        }
        Command::Status { daemon, json, operations: true } => run_client(operations::run(&daemon, json))?,
        Command::Status { daemon, json, operations: false } => run_client(status::run(&daemon, json))?,
        Command::Explain { daemon, json, id } => run_client(explain::run(&daemon, json, id))?,
        Command::Image { command, daemon } => run_client(image::run(command, &daemon))?,
    }
}

fn run_client<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    run_on(Builder::new_current_thread(), work)
}

fn run_on<T>(mut builder: Builder, work: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = builder.enable_all().build().map_err(Error::Runtime)?;
    let result = runtime.block_on(work);
    // A blocking call that hangs (a dead network file system, say) must not keep the process.
    runtime.shutdown_background();
    Ok(result)
}

/// Standard output. A reader that has had enough (`| head`) is no error.
fn print(text: &str) -> Result<(), Error> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(Error::Output),
    }
}

#[cfg(test)]
mod tests;
