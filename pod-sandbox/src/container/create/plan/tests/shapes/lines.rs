//! A spec as lines that people can read and `diff` can compare: one thing each, named by what it is instead of by its place
//! in a list.

use linkspan_runtime_oci::spec::Spec;
use serde_json::Value;

pub(super) fn of(spec: &Spec) -> Vec<String> {
    let mut lines = Vec::new();
    collect("", &serde_json::to_value(spec).unwrap(), &mut lines);
    lines.sort();
    lines
}

/// Lines that are gone, with `-`, and new ones, with `+`; those about the same thing beside each other.
pub(super) fn difference(before: &[String], after: &[String]) -> Vec<String> {
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| (line, "- "));
    let new = after.iter().filter(|line| !before.contains(line)).map(|line| (line, "+ "));
    let mut lines: Vec<_> = gone.chain(new).collect();
    let about = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
    lines.sort_by_key(|(line, sign)| (about(line), *sign == "+ ", (*line).clone()));
    lines.into_iter().map(|(line, sign)| format!("{sign}{line}")).collect()
}

fn collect(place: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                collect(&place, value, lines);
            }
        }
        Value::Array(items) => list(place, items, lines),
        value => lines.push(format!("{place} = {}", text(value))),
    }
}

fn list(place: &str, items: &[Value], lines: &mut Vec<String>) {
    let mut push = |line: String| lines.push(format!("{place}{line}"));
    for item in items {
        let field = |name: &str| text(&item[name]);
        match place {
            "process.env" => push(format!(" {}", text(item).replacen('=', " = ", 1))),
            "mounts" => push(format!(
                " {} = {} {} ({})",
                field("destination"),
                field("type"),
                field("source"),
                words(&item["options"], ",")
            )),
            "process.rlimits" => push(format!(" {} = {} {}", field("type"), field("soft"), field("hard"))),
            "linux.namespaces" => {
                let path = item.get("path").map_or("a new one".to_owned(), text);
                push(format!(" {} = {path}", field("type")));
            }
            "linux.devices" => push(format!(
                " {} = {} {}:{} mode {} of {}:{}",
                field("path"),
                field("type"),
                field("major"),
                field("minor"),
                item["fileMode"].as_u64().map_or("-".to_owned(), |mode| format!("{mode:o}")),
                field("uid"),
                field("gid")
            )),
            "linux.resources.devices" => push(format!(
                " = {} {} {}:{} {}",
                if item["allow"] == true { "allow" } else { "deny" },
                field("type"),
                field("major"),
                field("minor"),
                field("access")
            )),
            "linux.resources.hugepageLimits" => push(format!(" {} = {}", field("pageSize"), field("limit"))),
            "linux.maskedPaths" | "linux.readonlyPaths" => push(format!(" = {}", text(item))),
            hooks if hooks.starts_with("hooks.") => {
                push(format!(" = {} [{}]", field("path"), words(&item["args"], " ")));
            }
            "linux.seccomp.syscalls" => {
                push(format!(" {} = {}", field("action"), words(&item["names"], " ")))
            }
            _ => {}
        }
    }
    let known = ["mounts", "process.env", "process.rlimits", "linux.namespaces", "linux.devices"]
        .contains(&place)
        || place.starts_with("linux.resources.")
        || place.starts_with("hooks.")
        || ["linux.maskedPaths", "linux.readonlyPaths", "linux.seccomp.syscalls"].contains(&place);
    if !known {
        let mut all: Vec<String> = items.iter().map(text).collect();
        // Sets, which the crate keeps in no order.
        if place.starts_with("process.capabilities.") {
            all.sort();
        }
        push(format!(" = [{}]", all.join(" ")));
    }
}

fn words(value: &Value, between: &str) -> String {
    value.as_array().iter().flat_map(|items| items.iter()).map(text).collect::<Vec<_>>().join(between)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "*".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
