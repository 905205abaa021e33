//! A real `docker-registry` with the images of the suites, on a free port of the loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::tools;

/// Runs until dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
}

/// The hosts whose images it stands in for.
pub const MIRRORED: [&str; 5] =
    ["registry.k8s.io", "k8s.gcr.io", "gcr.io", "docker.io", "registry.linkspan.test"];

impl Registry {
    /// Starts a registry; its configuration goes into `folder`.
    pub fn start(folder: &Path) -> Result<Registry> {
        let configuration = folder.join("registry.json");
        let text = serde_json::json!({
            "version": "0.1",
            "log": { "level": "info" },
            "storage": {
                "filesystem": { "rootdirectory": tools::images() },
                "maintenance": { "readonly": { "enabled": true }, "uploadpurging": { "enabled": false } },
            },
            "http": { "addr": "127.0.0.1:0", "secret": "none" },
        });
        fs::write(&configuration, text.to_string())?;
        // It goes with us even if we are killed.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "docker-registry", "serve"])
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting docker-registry")?;
        let mut log = BufReader::new(child.stderr.take().context("its standard error")?);
        let mut line = String::new();
        let address = loop {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                let _ = child.kill();
                anyhow::bail!("docker-registry ended at its start");
            }
            if let Some(rest) = line.split("listening on ").nth(1) {
                break rest.split(['"', ' ']).next().unwrap_or_default().to_owned();
            }
        };
        // Its log must be read on, or it would block in the end.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Registry { child, address })
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes the daemon whose `containers` folder this is look here for the images of all mirrored hosts, half of
    /// them by either of the two kinds of configuration; `further` are more lines of `registries.conf`.
    pub fn mirror(&self, containers: &Path, further: &str) -> Result<()> {
        let mut registries = format!("{further}\n");
        for (index, host) in MIRRORED.iter().enumerate() {
            if index % 2 == 0 {
                let folder = containers.join("certs.d").join(host);
                fs::create_dir_all(&folder)?;
                let hosts = format!(
                    "server = \"http://{0}\"\n\n[host.\"http://{0}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
                    self.address
                );
                fs::write(folder.join("hosts.toml"), hosts)?;
            } else {
                registries.push_str(&format!(
                    "[[registry]]\nprefix = \"{host}\"\nlocation = \"{0}\"\ninsecure = true\n\n\
                     [[registry.mirror]]\nlocation = \"{0}\"\ninsecure = true\n\n",
                    self.address
                ));
            }
        }
        fs::create_dir_all(containers)?;
        fs::write(containers.join("registries.conf"), registries)?;
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
