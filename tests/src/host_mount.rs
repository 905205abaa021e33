//! Mounts that a test makes on the host, below its own folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// Unmounted when dropped, with all that is mounted on it.
#[derive(Debug)]
pub struct HostMount(PathBuf);

impl HostMount {
    /// A new tmpfs at `path`, which is made, and which passes nothing on.
    pub fn tmpfs(path: &Path) -> Result<HostMount> {
        fs::create_dir_all(path)?;
        run("mount", &["-t", "tmpfs", "linkspan-test"], path)?;
        let mount = HostMount(path.to_owned());
        run("mount", &["--make-private"], path)?;
        Ok(mount)
    }

    /// `private`, `slave` or `shared`.
    pub fn propagation(self, kind: &str) -> Result<HostMount> {
        run("mount", &[&format!("--make-r{kind}")], &self.0)?;
        Ok(self)
    }

    /// `4k`, `64m`: more does not go into it.
    pub fn size(self, size: &str) -> Result<HostMount> {
        run("mount", &["-o", &format!("remount,size={size}")], &self.0)?;
        Ok(self)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--recursive", "--lazy"]).arg(&self.0).status();
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> Result<()> {
    let output = Command::new(program).args(arguments).arg(path).output()?;
    ensure!(output.status.success(), "{program} {arguments:?} {}: {output:?}", path.display());
    Ok(())
}
