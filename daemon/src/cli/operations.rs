//! `linkspan status --operations`.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;

use super::client::{Daemon, DaemonFlags};
use crate::Error;
use crate::admin::{Operation, OperationsRequest};

pub(super) async fn run(flags: &DaemonFlags, json: bool) -> Result<(), Error> {
    let answer = Daemon::connect(flags).await?.admin().operations(OperationsRequest {}).await?;
    let operations = answer.into_inner().operations;
    super::print(&if json { as_json(&operations) } else { as_text(&operations) })
}

fn as_text(operations: &[Operation]) -> String {
    if operations.is_empty() {
        return "nothing is under way\n".to_owned();
    }
    let mut out = String::new();
    // Writing to a String cannot fail.
    for operation in operations {
        let _ = writeln!(out, "{} {} for {}", operation.what, operation.subject, seconds(operation.lasts_ms));
        for stage in &operation.stages {
            let _ = writeln!(out, "    {} for {}", stage.name, seconds(stage.lasts_ms));
        }
        if operation.failures > 0 {
            let _ = writeln!(out, "    failed {} times, last: {}", operation.failures, operation.last_error);
        }
    }
    out
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.1}s", Duration::from_millis(milliseconds).as_secs_f64())
}

fn as_json(operations: &[Operation]) -> String {
    let one = |operation: &Operation| {
        let stages =
            operation.stages.iter().map(|stage| json!({ "name": stage.name, "lasts_ms": stage.lasts_ms }));
        json!({
            "what": operation.what,
            "subject": operation.subject,
            "lasts_ms": operation.lasts_ms,
            "stages": stages.collect::<Vec<_>>(),
            "failures": operation.failures,
            "last_error": operation.last_error,
        })
    };
    format!("{:#}\n", json!(operations.iter().map(one).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::{Operation, as_json, as_text};
    use crate::admin::Stage;

    #[test]
    fn each_operation_says_what_it_waits_for() {
        assert_eq!(as_text(&[]), "nothing is under way\n");
        let operation = Operation {
            what: "RunPodSandbox".to_owned(),
            subject: "abc".to_owned(),
            lasts_ms: 12_300,
            stages: vec![Stage { name: "network ADD".to_owned(), lasts_ms: 12_000 }],
            failures: 2,
            last_error: "no route".to_owned(),
        };
        let text =
            "RunPodSandbox abc for 12.3s\n    network ADD for 12.0s\n    failed 2 times, last: no route\n";
        assert_eq!(as_text(std::slice::from_ref(&operation)), text);
        assert!(as_json(&[operation]).contains("\"network ADD\""));
    }
}
