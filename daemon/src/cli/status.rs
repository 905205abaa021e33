//! `linkspan status`.

use std::fmt::Write as _;
use std::time::Duration;

use linkspan_runtime_oci::Timestamp;
use serde_json::json;

use super::client::{Daemon, DaemonFlags};
use crate::Error;
use crate::admin::{StatusRequest, StatusResponse};

pub(super) async fn run(flags: &DaemonFlags, json: bool) -> Result<(), Error> {
    let status = Daemon::connect(flags).await?.admin().status(StatusRequest {}).await?.into_inner();
    let uptime = Timestamp::now().since(Timestamp(status.started_at));
    super::print(&if json { as_json(&status, uptime) } else { as_text(&status, uptime) })
}

fn as_text(status: &StatusResponse, uptime: Duration) -> String {
    let mut rows = vec![
        ("version".to_owned(), status.version.clone()),
        ("process".to_owned(), format!("{}, up {}", status.pid, up(uptime))),
    ];
    for condition in &status.conditions {
        let text = if condition.status {
            "yes".to_owned()
        } else {
            format!("no: {}: {}", condition.reason, condition.message)
        };
        rows.push((condition.name.clone(), text));
    }
    for handler in &status.handlers {
        let mut text = handler.path.clone();
        for (is, word) in [
            (handler.default, "default"),
            (handler.recursive_read_only_mounts, "recursive read-only mounts"),
            (handler.user_namespaces, "user namespaces"),
        ] {
            if is {
                text += ", ";
                text += word;
            }
        }
        if !handler.error.is_empty() {
            text += &format!(" ({})", handler.error);
        }
        rows.push((format!("handler {}", handler.name), text));
    }
    rows.extend([
        ("pods".to_owned(), format!("{} ready of {}", status.sandboxes_ready, status.sandboxes)),
        ("containers".to_owned(), format!("{} running of {}", status.containers_running, status.containers)),
        ("images".to_owned(), status.images.to_string()),
        ("network".to_owned(), status.network.clone()),
        ("cgroup driver".to_owned(), status.cgroup_driver.clone()),
        ("socket".to_owned(), status.socket.clone()),
        (
            "streaming".to_owned(),
            format!("{}, {} sessions open", status.streaming_url, status.streaming_sessions),
        ),
        ("state".to_owned(), status.root_dir.clone()),
        ("run".to_owned(), status.run_dir.clone()),
        ("configuration".to_owned(), files(&status.config_files)),
    ]);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut out, (name, text)| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:width$}  {text}");
        out
    })
}

fn files(files: &[String]) -> String {
    if files.is_empty() { "no file, all defaults".to_owned() } else { files.join(", ") }
}

fn as_json(status: &StatusResponse, uptime: Duration) -> String {
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|condition| {
            json!({
                "type": condition.name,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message,
            })
        })
        .collect();
    let handlers: Vec<_> = status
        .handlers
        .iter()
        .map(|handler| {
            json!({
                "name": handler.name,
                "path": handler.path,
                "default": handler.default,
                "recursive_read_only_mounts": handler.recursive_read_only_mounts,
                "user_namespaces": handler.user_namespaces,
                "error": handler.error,
            })
        })
        .collect();
    let value = json!({
        "version": status.version,
        "pid": status.pid,
        "started_at": status.started_at,
        "uptime_s": uptime.as_secs(),
        "conditions": conditions,
        "handlers": handlers,
        "pods": { "ready": status.sandboxes_ready, "all": status.sandboxes },
        "containers": { "running": status.containers_running, "all": status.containers },
        "images": status.images,
        "network": status.network,
        "cgroup_driver": status.cgroup_driver,
        "socket": status.socket,
        "streaming": { "url": status.streaming_url, "sessions": status.streaming_sessions },
        "root_dir": status.root_dir,
        "run_dir": status.run_dir,
        "config_files": status.config_files,
    });
    format!("{value:#}\n")
}

/// `3d 4h`, `12m 5s`: the two largest units.
fn up(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d {hours}h")
    } else if hours > 0 {
        format!("{hours}h {minutes}m")
    } else if minutes > 0 {
        format!("{minutes}m {}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests;
