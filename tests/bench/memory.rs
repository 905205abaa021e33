//! Memory of a server's processes, from `/proc`: proportional set size, so that shared pages count once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixStream;

use anyhow::Result;

use crate::cri::Endpoint;
use crate::table::Table;

/// The daemon, and what it keeps for `pods` standing pods: monitors, shims, pauses.
pub(crate) fn measure(endpoint: &Endpoint, pods: usize, table: &mut Table) -> Result<()> {
    let daemon = peer_pid(&endpoint.socket)?;
    table.bytes("memory: daemon (PSS)", &endpoint.name, pss_bytes(daemon));
    let mut by_name: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned();
        if ["linkspan-monito", "pause", "containerd-shim", "conmon"].contains(&name.as_str())
            && is_of(pid, endpoint)
        {
            by_name.entry(name).or_default().push(pss_bytes(pid));
        }
    }
    for (name, sizes) in by_name {
        let mean = sizes.iter().sum::<u64>() / sizes.len() as u64;
        table.bytes(
            &format!("memory: {name} (PSS, mean of {} for {pods} pods)", sizes.len()),
            &endpoint.name,
            mean,
        );
    }
    Ok(())
}

/// Monitors and shims carry their server's directory in their command line; a pause is known by its parent's.
fn is_of(pid: i32, endpoint: &Endpoint) -> bool {
    let mark = if endpoint.name.contains("containerd") { "containerd" } else { "linkspan-monitor" };
    let of = |pid: i32| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(mark))
    };
    of(pid) || parent(pid).is_some_and(of)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn pss_bytes(pid: i32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// The process that listens on `socket` (unix(7), SO_PEERCRED).
fn peer_pid(socket: &std::path::Path) -> Result<i32> {
    let stream = UnixStream::connect(socket)?;
    let credentials = rustix::net::sockopt::socket_peercred(&stream)?;
    Ok(credentials.pid.as_raw_nonzero().get())
}
