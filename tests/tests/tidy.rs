//! The rules of the house that a machine can check: arrows between crates, file length, banned names and
//! imports, where protobuf types may be named.

#[path = "tidy/pod_spec.rs"]
mod pod_spec;
#[path = "tidy/threat_model.rs"]
mod threat_model;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which of our packages each may depend on (ARCHITECTURE.md, "Crates"). A new arrow needs an ADR.
const ARROWS: &[(&str, &[&str])] = &[
    ("linkspan-cri-api", &[]),
    ("linkspan-child", &[]),
    ("linkspan-config", &[]),
    ("linkspan-files", &[]),
    ("linkspan-monitor", &[]),
    ("linkspan-image", &["linkspan-child", "linkspan-config", "linkspan-files"]),
    ("linkspan-nri", &["linkspan-child", "linkspan-config", "linkspan-files"]),
    ("linkspan-runtime-oci", &["linkspan-child", "linkspan-config", "linkspan-monitor"]),
    (
        "linkspan-pod-sandbox",
        &["linkspan-child", "linkspan-config", "linkspan-files", "linkspan-image", "linkspan-runtime-oci"],
    ),
    (
        "linkspan-daemon",
        &[
            "linkspan-child",
            "linkspan-cri-api",
            "linkspan-config",
            "linkspan-files",
            "linkspan-image",
            "linkspan-nri",
            "linkspan-pod-sandbox",
            "linkspan-runtime-oci",
        ],
    ),
    ("linkspan-tests", &["linkspan-cri-api"]),
];

/// Only these may depend on gRPC, protobuf or HTTP/2.
const WIRE_PACKAGES: &[&str] = &["linkspan-cri-api", "linkspan-daemon", "linkspan-tests"];
const WIRE_DEPENDENCIES: &[&str] = &["prost", "prost-types", "tonic", "tonic-prost", "linkspan-cri-api"];
/// This one speaks protobuf by itself, and nothing else of it (docs/adr/0006-nri.md).
const PROTOBUF_ALONE: (&str, &[&str]) = ("linkspan-nri", &["prost", "prost-types"]);

const BANNED_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "manager", "misc"];
const MOST_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

/// Every file that git tracks or would add, below the workspace, ending in `extension`.
fn files(extension: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(PathBuf::from)
        .filter(|path| path.extension().is_some_and(|e| e == extension) && root().join(path).is_file())
        .collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_test(path: &Path) -> bool {
    path.starts_with("tests")
        || path.file_name().is_some_and(|name| name == "tests.rs")
        || path
            .components()
            .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "examples" | "benches")))
}

fn report(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn arrows_between_crates_are_the_agreed_ones() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo tells its metadata");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut broken = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let Some(allowed) = allowed.get(name) else {
            broken.push(format!("{name}: not in the list of crates"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            if to.starts_with("linkspan-") && !allowed.contains(&to) {
                broken.push(format!("{name} -> {to}"));
            }
            let alone = name == PROTOBUF_ALONE.0 && PROTOBUF_ALONE.1.contains(&to);
            if WIRE_DEPENDENCIES.contains(&to) && !WIRE_PACKAGES.contains(&name) && !alone {
                broken.push(format!("{name} -> {to}: only the edge knows the wire"));
            }
        }
    }
    report("arrows that nobody agreed on", broken);
}

#[test]
fn files_are_short_enough_to_read() {
    let mut broken = Vec::new();
    for path in files("rs").into_iter().filter(|path| !is_test(path)) {
        let text = read(&path);
        let lines = text.split("#[cfg(test)]").next().unwrap_or("").lines().count();
        if lines > MOST_LINES {
            broken.push(format!("{}: {lines} lines", path.display()));
        }
    }
    report("files over 600 lines: which value is missing?", broken);
}

#[test]
fn modules_are_named_for_what_they_are() {
    let mut broken = Vec::new();
    for path in files("rs") {
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            broken.push(format!("{}: write foo.rs beside foo/", path.display()));
        }
        let parts = path.components().filter_map(|part| Path::new(part.as_os_str()).file_stem()?.to_str());
        for part in parts.filter(|part| BANNED_NAMES.contains(part)) {
            broken.push(format!("{}: `{part}` says nothing", path.display()));
        }
    }
    report("names", broken);
}

#[test]
fn unsafe_code_stays_in_sys_files_and_says_why() {
    let mut broken = Vec::new();
    for path in files("rs") {
        let text = read(&path);
        let allowed = path.file_name().is_some_and(|name| name == "sys.rs" || name == "pause.rs");
        if text.contains(&["allow(unsafe", "_code)"].concat()) && !allowed {
            broken.push(format!("{}: unsafe code outside sys.rs", path.display()));
        }
        if allowed && text.matches("unsafe {").count() > text.matches("// SAFETY:").count() {
            broken.push(format!("{}: an unsafe block without `// SAFETY:`", path.display()));
        }
    }
    report("unsafe code", broken);
}

/// Programs that are started otherwise inherit the daemon's raised limit of open files.
#[test]
fn the_daemon_starts_programs_by_linkspan_child_only() {
    // The monitor is given the right limit; the others are no part of the daemon.
    const ELSEWHERE: &[&str] =
        &["runtime-oci/monitor", "tests", "fuzz", "pod-sandbox/src/network/testbed.rs"];
    const STARTS: &[&str] = &["process::Command", "process::{", "posix_spawn", "fork()"];
    let mut broken = Vec::new();
    for path in files("rs").into_iter().filter(|path| !is_test(path)) {
        let (text, outside) = (read(&path), !ELSEWHERE.iter().any(|place| path.starts_with(place)));
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let starts = |line: &&str| {
            STARTS.iter().any(|word| line.contains(word))
                && (line.contains("Command") || line.contains("fork"))
        };
        if outside && let Some(line) = lines.clone().find(starts) {
            broken.push(format!("{}: {}", path.display(), line.trim()));
        }
    }
    report("programs that are not started by linkspan_child::Command", broken);
}

#[test]
fn protobuf_is_named_at_the_edge_only() {
    let mut broken = Vec::new();
    for path in files("rs") {
        let text = read(&path);
        let edge =
            ["cri-api", "daemon", "fuzz", "nri", "tests"].iter().any(|folder| path.starts_with(folder));
        if !edge && ["prost::", "tonic::", "linkspan_cri_api"].iter().any(|name| text.contains(name)) {
            broken.push(format!("{}: names a protobuf type", path.display()));
        }
    }
    report("protobuf below the daemon", broken);
}

#[test]
fn plans_are_pure() {
    const IMPURE: &[&str] =
        &["tokio", "std::fs", "std::process", "std::env", "SystemTime::now", "Instant::now", "rustix::"];
    let mut broken = Vec::new();
    for path in files("rs").into_iter().filter(|path| path.file_name().is_some_and(|name| name == "plan.rs"))
    {
        let text = read(&path);
        for word in IMPURE.iter().filter(|word| text.contains(**word)) {
            broken.push(format!("{}: {word}", path.display()));
        }
    }
    report("plans that touch the host", broken);
}

#[test]
fn nothing_is_switched_off_or_left_for_later() {
    // Put together here, so that this file does not find itself.
    let words = [["#[igno", "re"], ["todo", "!("], ["unimplemented", "!("], ["thread::sl", "eep(Duration"]];
    let words: Vec<String> = words.iter().map(|halves| halves.concat()).collect();
    let mut broken = Vec::new();
    for path in files("rs") {
        let text = read(&path);
        for word in words.iter().filter(|word| text.contains(word.as_str())) {
            if word.starts_with("thread::") && !is_test(&path) {
                continue;
            }
            broken.push(format!("{}: {word}", path.display()));
        }
    }
    report("left for later", broken);
}

#[test]
fn every_crash_point_is_listed_and_placed_once() {
    let listed = read(Path::new("runtime-oci/monitor/src/crash_points.txt"));
    let mut places: BTreeMap<String, usize> = listed.lines().map(|name| (name.to_owned(), 0)).collect();
    let mut broken = Vec::new();
    for path in files("rs").into_iter().filter(|path| !is_test(path)) {
        for call in read(&path).split("crash_point(\"").skip(1) {
            let name = call.split('"').next().unwrap_or_default();
            match places.get_mut(name) {
                Some(count) => *count += 1,
                None => broken.push(format!("{}: {name} is not listed", path.display())),
            }
        }
    }
    broken.extend(
        places.iter().filter(|(_, count)| **count != 1).map(|(name, n)| format!("{name}: {n} places")),
    );
    report("crash points", broken);
}

#[test]
fn grpc_codes_are_chosen_in_one_file() {
    let mut found = BTreeSet::new();
    for path in files("rs").into_iter().filter(|path| path.starts_with("daemon/src") && !is_test(path)) {
        if read(&path).contains("Code::NotFound") {
            found.insert(path);
        }
    }
    assert!(found.len() <= 1, "gRPC codes are chosen in several files: {found:?}");
}

#[test]
fn every_adr_is_listed_in_the_architecture() {
    let architecture = read(Path::new("ARCHITECTURE.md"));
    assert!(architecture.lines().count() <= 300, "ARCHITECTURE.md is longer than 300 lines");
    let missing = files("md")
        .into_iter()
        .filter(|path| path.starts_with("docs/adr"))
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .filter(|stem| !architecture.contains(stem.as_str()))
        .collect();
    report("decisions that ARCHITECTURE.md does not list", missing);
}
