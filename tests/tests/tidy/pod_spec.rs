//! `README.md`'s tables of a pod spec keep up with the protocol and with the tests.

use std::collections::BTreeSet;
use std::path::Path;

use super::{files, read, report};

const MESSAGES: &[&str] = &[
    "LinuxContainerSecurityContext",
    "LinuxContainerResources",
    "LinuxPodSandboxConfig",
    "LinuxSandboxSecurityContext",
    "Mount",
    "Device",
    "CDIDevice",
];

/// The names of a message's fields, in its order.
fn fields(protos: &str, message: &str) -> Vec<String> {
    let head = format!("message {message} {{");
    let body = protos.split(&head).nth(1).unwrap_or_else(|| panic!("no {head} in the protocol"));
    let body = body.split("\n}").next().unwrap_or_default();
    let declared = body.lines().map(str::trim).filter(|line| !line.starts_with("//") && line.contains(" = "));
    declared.filter_map(|line| line.split(" = ").next()?.split(' ').next_back()).map(str::to_owned).collect()
}

/// The rows below a message's heading: the field, and the rest of the row.
fn rows(page: &str, message: &str) -> Vec<(String, String)> {
    let head = format!("\n### `{message}`\n");
    let section = page.split(&head).nth(1).unwrap_or_else(|| panic!("README.md has no {message}"));
    let section =
        section.split("\n### ").next().and_then(|section| section.split("\n## ").next()).unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once("` |"))
        .map(|(field, rest)| (field.to_owned(), rest.to_owned()))
        .collect()
}

#[test]
fn every_field_of_a_pod_spec_has_its_row_and_every_test_in_it_exists() {
    let page = read(Path::new("README.md"));
    let protos: String = files("proto").iter().map(|path| read(path)).collect();
    let sources: String = files("rs").iter().map(|path| read(path)).collect();
    let mut broken = Vec::new();
    for message in MESSAGES {
        let (fields, rows) = (fields(&protos, message), rows(&page, message));
        assert!(!fields.is_empty(), "{message} has no fields");
        let told: BTreeSet<&String> = rows.iter().map(|(field, _)| field).collect();
        let asked: BTreeSet<&String> = fields.iter().collect();
        broken.extend(asked.difference(&told).map(|field| format!("{message}.{field} has no row")));
        broken.extend(told.difference(&asked).map(|field| format!("{message} has no field {field}")));
        for (field, rest) in &rows {
            let tests = rest.rsplit_once("| ").map_or("", |(_, tests)| tests).trim_end_matches(" |");
            let names = tests.split('`').skip(1).step_by(2).filter_map(|name| name.split("::").last());
            let missing = names.filter(|name| !sources.contains(&format!("fn {name}(")));
            broken.extend(missing.map(|name| format!("{message}.{field}: there is no test {name}")));
        }
    }
    report("README.md", broken);
}
