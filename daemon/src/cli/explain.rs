//! `linkspan explain`.

use serde_json::json;

use super::client::{Daemon, DaemonFlags};
use crate::Error;
use crate::admin::ExplainRequest;

pub(super) async fn run(flags: &DaemonFlags, json: bool, id: String) -> Result<(), Error> {
    let answer = Daemon::connect(flags).await?.admin().explain(ExplainRequest { id }).await?;
    let facts = answer.into_inner().facts;
    let width = facts.iter().map(|fact| fact.about.len()).max().unwrap_or(0);
    let text = match json {
        true => {
            let facts: Vec<_> =
                facts.iter().map(|fact| json!({ "about": fact.about, "text": fact.text })).collect();
            format!("{:#}\n", json!(facts))
        }
        false => facts.iter().map(|fact| format!("{:width$}  {}\n", fact.about, fact.text)).collect(),
    };
    super::print(&text)
}
