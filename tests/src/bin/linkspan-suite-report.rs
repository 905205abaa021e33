//! Judges the JSON report of a Ginkgo suite (critest, Kubernetes' own) by the list of expected failures.
//!
//! `linkspan-suite-report REPORT EXPECTED RUNTIME [--partial]`: with `--partial`, listed specs need not have run.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A line of the list.
struct Expected {
    text: String,
    reason: String,
    seen: bool,
}

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [report, expected, runtime, rest @ ..] = arguments.as_slice() else {
        bail!("usage: linkspan-suite-report REPORT EXPECTED RUNTIME [--partial]");
    };
    let report: Value = serde_json::from_slice(&std::fs::read(report)?).context("the report")?;
    let mut expected = read_expected(&std::fs::read_to_string(expected)?, runtime)?;
    let (mut passed, mut skipped, mut bad) = (0, Vec::new(), Vec::new());
    for spec in report[0]["SpecReports"].as_array().context("the report has no specs")? {
        let (name, state) = (text(spec), spec["State"].as_str().unwrap_or(""));
        if spec["LeafNodeType"] != "It" {
            // A failing set-up of the suite is no spec, but nothing after it counts.
            if state == "failed" {
                bad.push(format!("{name}: {}", message(spec)));
            }
            continue;
        }
        match (state, expected.iter_mut().find(|line| name.contains(&line.text))) {
            ("passed", None) => passed += 1,
            ("passed", Some(line)) => bad.push(format!("passes, though listed ({}): {name}", line.reason)),
            ("skipped" | "pending", _) => skipped.push((name, message(spec))),
            (_, Some(line)) => line.seen = true,
            (_, None) => bad.push(format!("FAILED {name}\n    {}", message(spec).replace('\n', "\n    "))),
        }
    }
    let (seen, unseen): (Vec<_>, Vec<_>) = expected.iter().partition(|line| line.seen);
    if rest.is_empty() {
        bad.extend(
            unseen.iter().map(|line| format!("listed, but nothing by that name failed: {}", line.text)),
        );
    }
    // What the focus left out was skipped without a word.
    skipped.retain(|(_, why)| !why.is_empty());
    skipped.iter().for_each(|(name, why)| println!("SKIP: {name}: {why}"));
    bad.iter().for_each(|line| println!("{line}"));
    let (seen, skipped, failures) = (seen.len(), skipped.len(), bad.len());
    println!("with {runtime}: {passed} passed, {seen} expected failures, {skipped} skipped, {failures} bad");
    Ok(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read_expected(text: &str, runtime: &str) -> Result<Vec<Expected>> {
    let mut expected = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [on, text, reasons @ ..] = fields.as_slice() else {
            bail!("expected-failures: no three fields: {line}")
        };
        if reasons.is_empty() {
            bail!("expected-failures: no reason: {line}")
        }
        if *on == "*" || *on == runtime {
            expected.push(Expected { text: (*text).to_owned(), reason: reasons.join("; "), seen: false });
        }
    }
    Ok(expected)
}

fn text(spec: &Value) -> String {
    let containers = spec["ContainerHierarchyTexts"].as_array().into_iter().flatten();
    let words = containers.chain([&spec["LeafNodeText"]]).filter_map(Value::as_str);
    words.collect::<Vec<_>>().join(" ")
}

fn message(spec: &Value) -> String {
    spec["Failure"]["Message"].as_str().unwrap_or("").chars().take(600).collect()
}
