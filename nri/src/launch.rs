//! Pre-installed plugins: programs that we start, each with its connection already made.
//!
//! Source: nri v0.12.0, README.md, "Plugin Registration", and pkg/adaptation (`discoverPlugins`, `getPluginConfig`).

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Pair;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linkspan_child::Command;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use crate::hub::Inner;
use crate::plugin::check_name;
use crate::register;

/// Who a program of ours is.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) index: String,
    pub(crate) base: String,
    pub(crate) path: PathBuf,
    /// Handed over as it is.
    pub(crate) config: String,
    /// Told, or dropped, when it takes part, or never will.
    pub(crate) ready: Option<oneshot::Sender<()>>,
}

/// Starts all that are installed, and waits until they take part: no container is to be made without them. Those that
/// cannot be started are logged: the option `nri.required_plugins` says which of them must not be missing.
pub(crate) async fn run(inner: &Arc<Inner>) {
    let settings = &inner.settings;
    let found = find(&settings.plugin_dir, &settings.plugin_config_dir).unwrap_or_else(|error| {
        tracing::error!(path = %settings.plugin_dir.display(), %error, "NRI plugins are not started");
        Vec::new()
    });
    let mut starting = Vec::new();
    for mut launched in found {
        let path = launched.path.clone();
        let (sender, ready) = oneshot::channel();
        launched.ready = Some(sender);
        match start(inner, launched) {
            Ok(()) => starting.push(ready),
            Err(error) => tracing::error!(path = %path.display(), %error, "NRI plugin could not be started"),
        }
    }
    for ready in starting {
        // In bounded time: each step of it has its deadline.
        let _ = ready.await;
    }
}

/// Programs named `NN-name`, in lexical order. No such directory: none.
pub(crate) fn find(plugins: &Path, configs: &Path) -> io::Result<Vec<Launched>> {
    let entries = match fs::read_dir(plugins) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_program = fs::metadata(&path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !is_program {
            continue;
        }
        match name.split_once('-').ok_or_else(|| "it is not named NN-name".to_owned()) {
            Ok((index, base)) => match check_name(index, base) {
                Ok(()) => found.push(Launched {
                    config: config(configs, &name, base)?,
                    index: index.to_owned(),
                    base: base.to_owned(),
                    path,
                    ready: None,
                }),
                Err(reason) => tracing::error!(path = %path.display(), reason, "not an NRI plugin"),
            },
            Err(reason) => tracing::error!(path = %path.display(), reason, "not an NRI plugin"),
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The plugin's own file, else one for all plugins of its name, else nothing.
fn config(dir: &Path, name: &str, base: &str) -> io::Result<String> {
    for file in [name, base] {
        match fs::read_to_string(dir.join(format!("{file}.conf"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            text => return text,
        }
    }
    Ok(String::new())
}

fn start(inner: &Arc<Inner>, launched: Launched) -> io::Result<()> {
    let (ours, theirs) = Pair::pair()?;
    ours.set_nonblocking(true)?;
    let mut child = Command::new(&launched.path)
        // The connection is its standard input: any other descriptor would reach every process that we start meanwhile.
        .stdin(OwnedFd::from(theirs))
        .env_clear()
        .env("NRI_PLUGIN_NAME", &launched.base)
        .env("NRI_PLUGIN_IDX", &launched.index)
        .env("NRI_PLUGIN_SOCKET", "0")
        .kill_on_drop(true)
        .spawn()?;
    let ours = UnixStream::from_std(ours)?;
    tracing::info!(path = %launched.path.display(), pid = child.id(), "NRI plugin started");
    let task_inner = Arc::clone(inner);
    inner.tasks.spawn(async move {
        let path = launched.path.clone();
        register::run(task_inner, ours, Some(launched)).await;
        // Without its connection it is of no use.
        let _ = child.start_kill();
        match child.wait().await {
            Ok(status) => tracing::info!(path = %path.display(), %status, "NRI plugin ended"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "NRI plugin could not be waited for")
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::find;

    #[test]
    fn programs_are_found_with_their_configuration_and_other_files_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (plugins, configs) = (folder.path().join("plugins"), folder.path().join("conf.d"));
        assert!(find(&plugins, &configs).unwrap().is_empty(), "no directory");
        fs::create_dir_all(&plugins).unwrap();
        fs::create_dir_all(&configs).unwrap();
        for (name, mode) in [("20-b", 0o755), ("10-a", 0o755), ("30-c", 0o644), ("c", 0o755), ("1-d", 0o755)]
        {
            fs::write(plugins.join(name), "").unwrap();
            fs::set_permissions(plugins.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(configs.join("10-a.conf"), "own").unwrap();
        fs::write(configs.join("a.conf"), "all").unwrap();
        fs::write(configs.join("b.conf"), "all").unwrap();
        let found: Vec<_> = find(&plugins, &configs)
            .unwrap()
            .into_iter()
            .map(|launched| (launched.index, launched.base, launched.config))
            .collect();
        let expected = [("10", "a", "own"), ("20", "b", "all")]
            .map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(found, expected);
    }
}
