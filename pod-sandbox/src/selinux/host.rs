//! What the host's SELinux says. Reads only.

use std::fs;
use std::path::Path;

use super::{Label, Policy, Support};

/// In this file, in the policy's directory.
const CONTEXTS: &str = "contexts/lxc_contexts";
/// Where `config` names no policy.
const DEFAULT_POLICY: &str = "targeted";

/// Below `root`, which is `/` but for tests.
pub(crate) fn read(root: &Path) -> Support {
    // Mounted exactly if the kernel has SELinux and it is not switched off.
    if !root.join("sys/fs/selinux/enforce").exists() {
        return Support::Off;
    }
    let directory = root.join("etc/selinux");
    let config = fs::read_to_string(directory.join("config")).unwrap_or_default();
    let policy = value(&config, "SELINUXTYPE").unwrap_or_else(|| DEFAULT_POLICY.to_owned());
    let path = directory.join(policy).join(CONTEXTS);
    let shown = path.strip_prefix(root).unwrap_or(&path).display();
    Support::On(match fs::read_to_string(&path) {
        Ok(text) => parse(&text).ok_or_else(|| format!("/{shown} names no labels for processes and files")),
        Err(error) => Err(format!(
            "the policy has no labels for containers: /{shown}: {error} (package container-selinux has it)"
        )),
    })
}

fn parse(text: &str) -> Option<Policy> {
    let label = |key| Label::parse(&value(text, key)?);
    Some(Policy { process: label("process")?, file: label("file")? })
}

/// Of a line `key = "value"`; the last one counts.
fn value(text: &str, key: &str) -> Option<String> {
    let line = |line: &str| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| value.trim().trim_matches('"').to_owned())
    };
    text.lines().filter_map(line).next_back().filter(|value| !value.is_empty())
}
