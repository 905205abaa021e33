//! The command line, which only the daemon writes.

use std::ffi::OsString;
use std::path::PathBuf;

/// Lines longer than this are split in logs if the daemon does not say otherwise: the kubelet's own limit.
const DEFAULT_MAX_LOG_LINE_BYTES: usize = 16 * 1024;

#[derive(Debug, PartialEq)]
pub(crate) struct Args {
    pub(crate) pod_dir: PathBuf,
    pub(crate) sandbox_id: String,
    pub(crate) cgroup_procs: Vec<PathBuf>,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) max_log_line_bytes: usize,
}

impl Args {
    /// Options are `--name value` or `--name=value`.
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut parsed = Self {
            pod_dir: PathBuf::new(),
            sandbox_id: String::new(),
            cgroup_procs: Vec::new(),
            oom_score_adj: None,
            max_log_line_bytes: DEFAULT_MAX_LOG_LINE_BYTES,
        };
        let mut args = args;
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy();
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name.to_owned(), OsString::from(value)),
                None => {
                    (text.to_string(), args.next().ok_or_else(|| format!("option {text} needs a value"))?)
                }
            };
            let number = || value.to_string_lossy().parse::<i64>().map_err(|e| format!("option {name}: {e}"));
            match name.as_str() {
                "--pod-dir" => parsed.pod_dir = value.into(),
                "--sandbox-id" => parsed.sandbox_id = value.to_string_lossy().into_owned(),
                "--cgroup-procs" => parsed.cgroup_procs.push(value.into()),
                "--oom-score-adj" => parsed.oom_score_adj = i32::try_from(number()?).ok(),
                "--max-log-line-bytes" => {
                    // No limit at all would let one line fill our memory.
                    parsed.max_log_line_bytes = match usize::try_from(number()?) {
                        Ok(0) | Err(_) => DEFAULT_MAX_LOG_LINE_BYTES,
                        Ok(limit) => limit,
                    }
                }
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if !parsed.pod_dir.is_absolute() {
            return Err("--pod-dir DIR must be an absolute path".to_owned());
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests;
