//! Who has which address and host port: one small file per attachment, and the same in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::{Attachment, Error, PortMapping};
use super::subnet::Subnet;
use crate::own_files::{self, SET_ASIDE, set_aside};

/// The extension of what is being written.
const UNFINISHED: &str = "tmp";

/// One attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) sandbox_id: String,
    /// Namespace and name, for people.
    pub(crate) pod: String,
    /// The host's end of the pair.
    pub(crate) veth: String,
    /// One for each subnet, in the subnets' order.
    pub(crate) ips: Vec<IpAddr>,
    /// Only those that ask for a port of the host.
    pub(crate) ports: Vec<PortMapping>,
}

/// All attachments.
#[derive(Debug)]
pub(crate) struct Ledger {
    dir: PathBuf,
    subnets: Vec<Subnet>,
    /// Per subnet, the address given last: a released one is not given again at once.
    last: Vec<Option<IpAddr>>,
    records: BTreeMap<String, Record>,
}

impl Ledger {
    /// Reads what an earlier daemon left. A file that is no record is set aside: it was lost in a crash of the node, and its pod
    /// with it.
    pub(crate) fn open(dir: &Path, subnets: Vec<Subnet>) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(Error::io("making directory", dir))?;
        let mut records = BTreeMap::new();
        for file in fs::read_dir(dir).map_err(Error::io("reading directory", dir))? {
            let path = file.map_err(Error::io("reading directory", dir))?.path();
            let is = |extension| path.extension().is_some_and(|found| found == extension);
            if is(SET_ASIDE) || is(UNFINISHED) && fs::remove_file(&path).is_ok() {
                continue;
            }
            let content = own_files::read(&path).map_err(Error::io("reading", &path))?;
            match content.map(|content| serde_json::from_slice::<Record>(&content)) {
                Ok(Ok(record)) if path == file_path(dir, &record.sandbox_id) => {
                    records.insert(record.sandbox_id.clone(), record);
                }
                Ok(Ok(record)) => set_aside(&path, &format!("is the record of {}", record.sandbox_id)),
                Ok(Err(error)) => set_aside(&path, &error.to_string()),
                Err(why) => set_aside(&path, &why),
            }
        }
        let last = vec![None; subnets.len()];
        Ok(Self { dir: dir.to_path_buf(), subnets, last, records })
    }

    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    pub(crate) fn get(&self, sandbox_id: &str) -> Option<&Record> {
        self.records.get(sandbox_id)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Gives the pod addresses and its host ports, on disk first.
    pub(crate) fn reserve(&mut self, a: &Attachment, veth: String) -> Result<Record, Error> {
        let ports: Vec<PortMapping> = a.port_mappings.iter().filter(|p| p.host_port != 0).copied().collect();
        self.check_ports(&a.sandbox_id, &ports)?;
        let ips = self.choose(a)?;
        let pod = format!("{}/{}", a.pod_namespace, a.pod_name);
        let record = Record { sandbox_id: a.sandbox_id.clone(), pod, veth, ips: ips.clone(), ports };
        let path = file_path(&self.dir, &a.sandbox_id);
        let temporary = path.with_extension(UNFINISHED);
        let content = serde_json::to_vec(&record).map_err(io::Error::from);
        content
            .and_then(|content| fs::write(&temporary, content))
            .and_then(|()| fs::rename(&temporary, &path))
            .map_err(Error::io("recording addresses in", &path))?;
        self.last = ips.into_iter().map(Some).collect();
        self.records.insert(a.sandbox_id.clone(), record.clone());
        Ok(record)
    }

    /// Takes everything back. Gone is fine.
    pub(crate) fn release(&mut self, sandbox_id: &str) -> Result<Option<Record>, Error> {
        let path = file_path(&self.dir, sandbox_id);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", &path)(error)),
            _ => Ok(self.records.remove(sandbox_id)),
        }
    }

    fn choose(&self, a: &Attachment) -> Result<Vec<IpAddr>, Error> {
        let taken = |ip: IpAddr| self.records.values().any(|record| record.ips.contains(&ip));
        let refuse = |ip: &IpAddr, why: &str| Error::BadRequest {
            pod: a.pod_name.clone(),
            message: format!("address {ip} {why}"),
        };
        if let Some(foreign) = a.ips.iter().find(|ip| !self.subnets.iter().any(|s| s.has_for_pods(**ip))) {
            return Err(refuse(foreign, "is not in the built-in network"));
        }
        let choose = |(subnet, last): (&Subnet, &Option<IpAddr>)| match a
            .ips
            .iter()
            .find(|ip| subnet.has_for_pods(**ip))
        {
            Some(wanted) if taken(*wanted) => Err(refuse(wanted, "is taken")),
            Some(wanted) => Ok(*wanted),
            None => {
                subnet.next_free(*last, taken).ok_or_else(|| Error::NoAddress { subnet: subnet.to_string() })
            }
        };
        self.subnets.iter().zip(&self.last).map(choose).collect()
    }

    fn check_ports(&self, sandbox_id: &str, ports: &[PortMapping]) -> Result<(), Error> {
        for (index, port) in ports.iter().enumerate() {
            let others = self.records.values().filter(|record| record.sandbox_id != sandbox_id);
            let mut taken = others.flat_map(|r| r.ports.iter().map(move |p| (p, r.pod.as_str())));
            let own = ports[..index].iter().map(|p| (p, "itself"));
            if let Some((_, holder)) = own.chain(&mut taken).find(|(other, _)| collide(port, other)) {
                let address = port.host_ip.map(|ip| format!(" on {ip}")).unwrap_or_default();
                let host = format!("{}/{}{address}", port.host_port, port.protocol.name());
                return Err(Error::PortTaken { host, holder: holder.to_owned() });
            }
        }
        Ok(())
    }
}

fn collide(a: &PortMapping, b: &PortMapping) -> bool {
    let overlap = match (a.host_ip, b.host_ip) {
        (Some(a), Some(b)) => {
            a.is_ipv4() == b.is_ipv4() && (a == b || a.is_unspecified() || b.is_unspecified())
        }
        _ => true,
    };
    overlap && a.protocol == b.protocol && a.host_port == b.host_port
}

fn file_path(dir: &Path, sandbox_id: &str) -> PathBuf {
    dir.join(format!("{sandbox_id}.json"))
}

#[cfg(test)]
mod tests;
