//! File systems that do not answer.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};

/// One that never answers, as a network's whose server is gone: it is of the kind FUSE, and there is no server. Whoever looks
/// below it waits until it is dropped, and then gets an error.
#[derive(Debug)]
pub struct HungMount {
    path: PathBuf,
    /// The kernel's requests would be read from it. Closed, it ends the file system.
    device: Option<File>,
}

impl HungMount {
    /// Makes the directory `path` and mounts on it.
    pub fn new(path: &Path) -> Result<HungMount> {
        fs::create_dir_all(path)?;
        let device = File::options().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("linkspan-test", path, "fuse", flags, CString::new(options)?.as_c_str())
            .with_context(|| format!("mounting on {}", path.display()))?;
        Ok(HungMount { path: path.to_owned(), device: Some(device) })
    }

    /// Something below it. That it is there, nobody will ever know.
    pub fn file(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        drop(self.device.take());
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

/// A disk that takes no writes while it is frozen: whoever writes waits, and cannot even be killed.
#[derive(Debug)]
pub struct FrozenDisk(PathBuf);

impl FrozenDisk {
    /// Makes a small one, not frozen yet, and mounts it on the directory `path`, which is made.
    pub fn new(path: &Path) -> Result<FrozenDisk> {
        fs::create_dir_all(path)?;
        let image = path.with_extension("img");
        File::create(&image)?.set_len(64 << 20)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(path))?;
        Ok(FrozenDisk(path.to_owned()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn freeze(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.0))
    }

    pub fn thaw(&self) -> Result<()> {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0))
    }
}

impl Drop for FrozenDisk {
    fn drop(&mut self) {
        // Not frozen: an error.
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(())
}
