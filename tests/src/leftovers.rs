//! What must not be left on the machine when a daemon has removed its pods and ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounts below `prefix`, by mount point.
pub fn mounts(prefix: &Path) -> Vec<String> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| Path::new(point).starts_with(prefix))
        .map(str::to_owned)
        .collect()
}

/// Processes whose command line names `prefix`, or which run in it, but for the excepted.
pub fn processes(prefix: &Path, except: &[u32]) -> Vec<String> {
    let prefix = prefix.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if pid == std::process::id() || except.contains(&pid) {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if command.contains(&prefix) || folder.starts_with(&prefix) {
            found.push(format!("{pid}: {command}"));
        }
    }
    found
}

/// Control groups named `name`, in any hierarchy, with all below them.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(
        fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|p| p.is_dir()),
    );
    let mut found = Vec::new();
    for root in roots {
        let group = root.join(name);
        if group.is_dir() {
            collect(&group, &mut found);
        }
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), found);
        }
    }
    found.push(folder.to_owned());
}

/// What is in the folders that hold one entry per pod, container or root file system.
pub fn entries(folders: &[PathBuf]) -> Vec<String> {
    folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path().display().to_string())
        .collect()
}

/// Files of pods and containers below `prefix`: whatever bears an ID in its name, but for layers and images.
pub fn of_pods(prefix: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["run", "var"] {
        find_ids(&prefix.join(folder), &mut found);
    }
    found
}

fn find_ids(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let of_images =
            folder.components().any(|part| part.as_os_str() == "images") && !folder.ends_with("rootfs");
        // crun keeps compiled seccomp profiles here, by their digests; they are of no container.
        if path.ends_with(".cache/seccomp") {
            continue;
        }
        if !of_images && has_id(&name) {
            found.push(path.display().to_string());
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !path.ends_with("images/layers") {
            find_ids(&path, found);
        }
    }
}

fn has_id(name: &str) -> bool {
    name.split(|letter: char| !letter.is_ascii_hexdigit()).any(|part| part.len() == 64)
}

/// Ends processes, undoes mounts and removes control groups that a failed test has left.
pub fn sweep(prefix: &Path, cgroup: Option<&str>, except: &[u32]) {
    for process in processes(prefix, except) {
        if let Some((pid, _)) = process.split_once(':') {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
    }
    let groups = cgroup.map(cgroups).unwrap_or_default();
    for group in &groups {
        for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
            let _ = Command::new("kill").args(["-KILL", pid]).status();
        }
    }
    for point in mounts(prefix).iter().rev() {
        let _ = Command::new("umount").args(["--lazy", point]).status();
    }
    for group in groups {
        let _ = fs::remove_dir(group);
    }
}
