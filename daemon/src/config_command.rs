//! `linkspan config default|show|check`.

use linkspan_config::{Loaded, Sources, load, sample, show};
use linkspan_runtime_oci::spec::BaseSpec;

use crate::Error;

/// What `linkspan config` can do.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Print the commented sample with every option and its default.
    Default,
    /// Print the merged configuration, each value with where it comes from.
    Show,
    /// Read and check the configuration; say nothing else if it is good.
    Check,
}

/// The text for standard output.
///
/// # Errors
/// What is wrong with the configuration, naming file and line, variable or flag.
pub fn run(command: ConfigCommand, sources: &Sources) -> Result<String, Error> {
    match command {
        ConfigCommand::Default => Ok(sample(&sources.place)),
        ConfigCommand::Show => Ok(show(&load(sources)?)),
        ConfigCommand::Check => {
            let Loaded { config, files, .. } = load(sources)?;
            // Files that the daemon would refuse to start with.
            for handler in config.runtime.handlers.values() {
                handler.base_spec.as_deref().map(BaseSpec::read).transpose()?;
            }
            let names: Vec<_> = files.iter().map(|path| path.display().to_string()).collect();
            let read = if names.is_empty() { "no file, all defaults".to_owned() } else { names.join(", ") };
            Ok(format!("configuration is good ({read})\n"))
        }
    }
}
