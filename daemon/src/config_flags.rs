//! The flags that say where the configuration comes from: one for each option, made from the options' own
//! table, and the short ways beside them.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use linkspan_config::{Place, Sources, definitions};

/// The sources of the configuration, from the command line and this process's environment.
#[derive(Clone, Debug)]
pub struct ConfigFlags {
    pub sources: Sources,
}

/// Options that have a better flag of their own.
const SHORT_WAYS: &[(&str, &str)] = &[("runtime.handlers", "--runtime")];

impl Args for ConfigFlags {
    fn augment_args(command: Command) -> Command {
        let path = || clap::value_parser!(PathBuf);
        let mut command = command
            .arg(Arg::new("config").long("config").value_name("FILE").value_parser(path()).help(
                "Configuration file; drop-ins are *.toml of config.d beside it [default: /etc/linkspan/config.toml]",
            ))
            .arg(Arg::new("prefix").long("prefix").value_name("DIR").value_parser(path()).help(
                "Put every default path below DIR, so that several daemons can run side by side",
            ))
            .arg(
                Arg::new("runtime").long("runtime").value_name("NAME=PATH").action(ArgAction::Append).help(
                    "A runtime handler and its OCI runtime; repeatable, the first is the default",
                ),
            )
            .arg(
                Arg::new("cni-bin-dir")
                    .long("cni-bin-dir")
                    .value_name("DIR")
                    .value_parser(path())
                    .action(ArgAction::Append)
                    .help("Where CNI plugins are; repeatable"),
            );
        for definition in definitions() {
            if SHORT_WAYS.iter().any(|(key, _)| *key == definition.key) {
                continue;
            }
            let doc = definition.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
            command = command.arg(
                Arg::new(definition.key)
                    .long(definition.flag())
                    .value_name("VALUE")
                    .hide_short_help(true)
                    .help(format!("{} ({})", doc.trim_end_matches('.'), definition.kind)),
            );
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ConfigFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let bad = |message: String| clap::Error::raw(clap::error::ErrorKind::InvalidValue, message + "\n");
        let place = match matches.get_one::<PathBuf>("prefix") {
            None => Place::host(),
            Some(prefix) => {
                let absolute = std::path::absolute(prefix)
                    .map_err(|error| bad(format!("--prefix {}: {error}", prefix.display())))?;
                Place::below(absolute)
            }
        };
        let mut runtimes = Vec::new();
        for text in matches.get_many::<String>("runtime").into_iter().flatten() {
            let (name, path) =
                text.split_once('=').ok_or_else(|| bad(format!("--runtime {text}: expected NAME=PATH")))?;
            runtimes.push((name.to_owned(), PathBuf::from(path)));
        }
        let mut flags = Vec::new();
        for definition in definitions() {
            // `try_get_one` since the options with a short way have no argument of their own.
            if let Ok(Some(text)) = matches.try_get_one::<String>(definition.key) {
                flags.push((definition.key.to_owned(), text.clone()));
            }
        }
        if let Some(dirs) = matches.get_many::<PathBuf>("cni-bin-dir") {
            let dirs: Vec<_> = dirs.map(|dir| dir.display().to_string()).collect();
            flags.push(("network.bin_dirs".to_owned(), dirs.join(",")));
        }
        // A variable that is not UTF-8 cannot be one of ours.
        let environment = std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect();
        Ok(ConfigFlags {
            sources: Sources {
                place,
                file: matches.get_one("config").cloned(),
                environment,
                flags,
                runtimes,
            },
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
