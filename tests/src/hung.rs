//! A file system that never answers, as a network's whose server is gone.
//!
//! It is of the kind FUSE, and there is no server: whoever looks below it waits, until it is dropped or killed.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};

/// Dropped, whoever waits gets an error, and it is unmounted.
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
