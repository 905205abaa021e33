//! A CNI network of a test's own: bridge and subnet that no other test has.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const LEASES: &str = "/tmp/linkspan-tests-subnets";

/// Bridge and subnet, held by a lock until dropped; the bridge goes with it.
#[derive(Debug)]
pub struct Network {
    pub bridge: String,
    number: u8,
    state: PathBuf,
    _lease: File,
}

impl Network {
    /// Writes a configuration list into `conf_dir`; host-local keeps its addresses below `state`.
    pub fn create(conf_dir: &Path, state: &Path) -> Result<Network> {
        let (number, lease) = lease()?;
        let network = Network {
            bridge: format!("lstest{number}"),
            number,
            state: state.join("networks"),
            _lease: lease,
        };
        fs::create_dir_all(conf_dir)?;
        network.configure(conf_dir)?;
        Ok(network)
    }

    /// Writes the configuration, as an administrator does: under another name first.
    pub fn configure(&self, conf_dir: &Path) -> Result<()> {
        let n = self.number;
        let list = serde_json::json!({
            "cniVersion": "1.0.0",
            "name": format!("linkspan-test-{n}"),
            "plugins": [
                {
                    "type": "bridge", "bridge": self.bridge, "isGateway": true, "ipMasq": false, "hairpinMode": true,
                    "ipam": {
                        "type": "host-local", "dataDir": self.state,
                        "ranges": [[{ "subnet": format!("10.199.{n}.0/24") }], [{ "subnet": format!("fd99:{n:x}::/64") }]],
                        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
                    },
                },
                { "type": "portmap", "capabilities": { "portMappings": true } },
            ],
        });
        let temporary = conf_dir.join("10-test.conflist.new");
        fs::write(&temporary, list.to_string())?;
        fs::rename(&temporary, conf_dir.join("10-test.conflist"))?;
        Ok(())
    }

    /// The gateway's address: this host, seen from pods.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 199, self.number, 1)
    }

    pub fn contains(&self, address: &str) -> bool {
        address.starts_with(&format!("10.199.{}.", self.number))
    }

    /// Addresses that host-local still holds for pods.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let folder = self.state.join(format!("linkspan-test-{}", self.number));
        let Ok(entries) = fs::read_dir(&folder) else { return Ok(Vec::new()) };
        let mut addresses = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "lock" && !name.starts_with("last_reserved_ip") {
                addresses.push(name);
            }
        }
        Ok(addresses)
    }

    /// Where host-local notes who has an address.
    pub fn reservation(&self, address: &str) -> PathBuf {
        self.state.join(format!("linkspan-test-{}", self.number)).join(address)
    }

    /// Interfaces that are still ports of the bridge.
    pub fn ports(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(format!("/sys/class/net/{}/brif", self.bridge)) else {
            return Vec::new();
        };
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Removes the bridge.
    pub fn remove(&self) -> Result<()> {
        if !Path::new("/sys/class/net").join(&self.bridge).exists() {
            return Ok(());
        }
        let status =
            Command::new("ip").args(["link", "delete", &self.bridge]).status().context("running ip")?;
        ensure!(status.success(), "removing the bridge {}", self.bridge);
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// The first number nobody else holds. The kernel gives it back even if this process is killed.
fn lease() -> Result<(u8, File)> {
    fs::create_dir_all(LEASES)?;
    for number in 1..=250 {
        let file = File::create(Path::new(LEASES).join(number.to_string()))?;
        if file.try_lock().is_ok() {
            return Ok((number, file));
        }
    }
    bail!("250 test networks are in use at once")
}
