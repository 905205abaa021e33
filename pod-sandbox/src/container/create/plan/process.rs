//! What runs: the image's wishes, overruled by the request's.

use linkspan_image::ImageConfig;

use crate::container::create::facts::Facts;
use crate::error::Error;
use crate::model::ContainerConfig;

/// What a shell finds commands by, in an image that says nothing about it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) struct Process {
    pub(super) args: Vec<String>,
    pub(super) cwd: String,
    /// `KEY=value`, each key once.
    pub(super) env: Vec<String>,
}

pub(super) fn decide(
    config: &ContainerConfig,
    image: &ImageConfig,
    hostname: &str,
    facts: &Facts,
) -> Result<Process, Error> {
    let args = args(config, image);
    if args.first().is_none_or(String::is_empty) {
        return Err(Error::bad("config.command", "is empty, and the image has no command either"));
    }
    Ok(Process { args, cwd: cwd(config, image), env: env(config, image, hostname, facts) })
}

/// Kubernetes' table, "Notes" of "Define a Command and Arguments for a Container": a command of one's own leaves the
/// image's arguments out too.
fn args(config: &ContainerConfig, image: &ImageConfig) -> Vec<String> {
    let (first, rest) = match (config.command.is_empty(), config.args.is_empty()) {
        (false, _) => (&config.command, &config.args),
        (true, false) => (&image.entrypoint, &config.args),
        (true, true) => (&image.entrypoint, &image.cmd),
    };
    first.iter().chain(rest).cloned().collect()
}

fn cwd(config: &ContainerConfig, image: &ImageConfig) -> String {
    match (config.working_dir.as_str(), image.working_dir.as_str()) {
        ("", "") => "/".to_owned(),
        ("", dir) if dir.starts_with('/') => dir.to_owned(),
        ("", dir) => format!("/{dir}"),
        (dir, _) => dir.to_owned(),
    }
}

fn env(config: &ContainerConfig, image: &ImageConfig, hostname: &str, facts: &Facts) -> Vec<String> {
    let mut env = vec![("PATH".to_owned(), PATH.to_owned()), ("HOSTNAME".to_owned(), hostname.to_owned())];
    if config.tty {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    // Always: a runtime that misses it looks for one in the image's passwd, and waits for ever if that is a named pipe.
    env.push(("HOME".to_owned(), facts.home.clone().unwrap_or_else(|| "/".to_owned())));
    let mut set = |key: &str, value: &str| match env.iter_mut().find(|(known, _)| known == key) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((key.to_owned(), value.to_owned())),
    };
    for variable in &facts.container.default_env {
        set(&variable.name, &variable.value);
    }
    for entry in &image.env {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(key, value);
    }
    for variable in &config.envs {
        set(&variable.key, &variable.value);
    }
    env.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
}
