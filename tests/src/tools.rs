//! Where the tools are that `contrib/tools` builds, and what stands in for one.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const VERSIONS: &str = include_str!("../../contrib/tools/versions.sh");

/// The value that `contrib/tools/versions.sh` pins for `name`.
pub fn version(name: &str) -> &'static str {
    VERSIONS
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .unwrap_or_else(|| panic!("versions.sh pins no {name}"))
}

fn folder(tool: &str, variable: &str) -> PathBuf {
    let cache = std::env::var_os("LINKSPAN_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/linkspan"),
        PathBuf::from,
    );
    cache.join(format!("{tool}-{}", version(variable)))
}

pub fn crictl() -> PathBuf {
    folder("cri-tools", "CRI_TOOLS").join("crictl")
}

pub fn critest() -> PathBuf {
    folder("cri-tools", "CRI_TOOLS").join("critest")
}

pub fn crun() -> PathBuf {
    folder("crun", "CRUN").join("crun")
}

pub fn runc() -> PathBuf {
    folder("runc", "RUNC").join("runc")
}

pub fn youki() -> PathBuf {
    folder("youki", "YOUKI").join("youki")
}

pub fn criu() -> PathBuf {
    folder("criu", "CRIU").join("criu")
}

/// The tests' plugin for NRI.
pub fn nri_plugin() -> PathBuf {
    folder("nri-plugin", "NRI_PLUGIN").join("plugin")
}

pub fn kubelet() -> PathBuf {
    folder("kubelet", "KUBERNETES").join("kubelet")
}

/// A static one, with its applets.
pub fn busybox() -> PathBuf {
    folder("busybox", "BUSYBOX").join("busybox")
}

/// The folder of the CNI plugins.
pub fn cni_plugins() -> PathBuf {
    folder("cni-plugins", "CNI_PLUGINS")
}

/// Storage of a docker-registry that holds all images of the suites.
pub fn images() -> PathBuf {
    folder("images", "IMAGES").join("registry")
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}

/// The folder where cargo put our programs: this test's own binary is in `deps` below it.
pub fn target() -> PathBuf {
    if let Some(folder) = std::env::var_os("LINKSPAN_BIN_DIR") {
        return PathBuf::from(folder);
    }
    let binary = std::env::current_exe().expect("this process has a binary");
    let folder = binary.parent().expect("a binary lies in a folder");
    match folder.ends_with("deps") {
        true => folder.parent().expect("deps has a parent").to_owned(),
        false => folder.to_owned(),
    }
}

/// The daemon under test.
pub fn daemon() -> PathBuf {
    target().join("linkspan")
}

/// A program of this machine, by the folders where they usually are.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Writes a script that stands in for a tool; `text` begins with the line that names its interpreter.
pub fn script(path: PathBuf, text: &str) -> io::Result<PathBuf> {
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// As crun 1.8, of Debian 12: without the command that tells what it can do.
pub fn crun_without_features(folder: &Path) -> io::Result<PathBuf> {
    let refuse = "[ \"$1\" = features ] && { echo 'unknown command features' >&2; exit 1; }";
    let text = format!("#!/bin/sh\n{refuse}\nexec {} \"$@\"\n", crun().display());
    script(folder.join("old"), &text)
}

/// crun, whose `create` waits.
#[derive(Debug)]
pub struct HeldRuntime {
    folder: tempfile::TempDir,
    script: PathBuf,
}

impl HeldRuntime {
    pub fn new() -> io::Result<HeldRuntime> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().display();
        let text = format!(
            "#!/bin/sh\ncase \" $* \" in *' create '*) : >{path}/called; while [ -e {path}/hold ]; do sleep 0.02; done;; esac\n\
             exec {} \"$@\"\n",
            crun().display()
        );
        let script = script(folder.path().join("held"), &text)?;
        fs::write(folder.path().join("hold"), "")?;
        Ok(HeldRuntime { folder, script })
    }

    /// As the one handler of a node.
    pub fn handler(&self) -> Vec<(String, PathBuf)> {
        vec![("held".to_owned(), self.script.clone())]
    }

    pub async fn is_called(&self) -> anyhow::Result<()> {
        let called = self.folder.path().join("called");
        crate::wait::until("the runtime is called", std::time::Duration::from_secs(30), async || {
            anyhow::ensure!(called.exists());
            Ok(())
        })
        .await
    }

    pub fn go_on(&self) -> io::Result<()> {
        fs::remove_file(self.folder.path().join("hold"))
    }
}

/// The CNI plugins, and one more of this name, in a folder of their own.
pub fn cni_plugins_and(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    for plugin in fs::read_dir(cni_plugins())? {
        let plugin = plugin?;
        std::os::unix::fs::symlink(plugin.path(), bin.join(plugin.file_name()))?;
    }
    script(bin.join(name), text)?;
    Ok(bin)
}
