//! `linkspan check`: what this host has and lacks for running pods, and how to mend it.
//!
//! Facts are read (`facts.rs`), judged (`findings.rs`, pure), and printed here.

mod facts;
mod findings;

use linkspan_config::Config;

pub use findings::{Finding, Level};

/// Inspects the host. Changes nothing; starts only the runtimes' `--version` and `features`.
pub async fn run(config: &Config) -> Vec<Finding> {
    let facts = facts::read(config).await;
    findings::judge(config, &facts)
}

/// The findings as a person reads them, worst last so that it stays on the screen.
pub fn render(findings: &[Finding]) -> String {
    let mut sorted: Vec<_> = findings.iter().collect();
    sorted.sort_by_key(|finding| finding.level);
    let mut out = String::new();
    for finding in sorted {
        out += &format!("{:5} {}: {}\n", finding.level.word(), finding.subject, finding.text);
        if let Some(mend) = &finding.mend {
            out += &format!("      mend: {mend}\n");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    out += &format!(
        "{} wrong, {} to look at, {} fine\n",
        count(Level::Wrong),
        count(Level::Warn),
        count(Level::Fine)
    );
    out
}

/// Whether pods cannot run on this host as it is.
pub fn is_wrong(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.level == Level::Wrong)
}
