//! What a client reads on its error stream at the end. Pure.
//!
//! Source: Kubernetes API `metav1.Status`, with the reasons that client-go's `remotecommand` knows.

use serde::Serialize;
use serde_json::json;

use super::Version;

/// How a remote command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Success,
    /// Never 0.
    ExitCode(i32),
    /// The command could not be run, or its end is not known.
    Failed(String),
}

impl Status {
    pub(crate) fn of_exit_code(code: i32) -> Self {
        if code == 0 { Self::Success } else { Self::ExitCode(code) }
    }

    /// The bytes for the error stream: text before version 4, where success is silence.
    pub(crate) fn render(&self, version: Version) -> Vec<u8> {
        if version < Version::V4 {
            return self.message().unwrap_or_default().into_bytes();
        }
        let status = MetaStatus {
            status: if *self == Self::Success { "Success" } else { "Failure" },
            message: self.message(),
            reason: match self {
                Self::Success => None,
                Self::ExitCode(_) => Some("NonZeroExitCode"),
                Self::Failed(_) => Some("InternalError"),
            },
            details: match self {
                Self::ExitCode(code) => Some(
                    json!({ "causes": [{ "reason": "ExitCode", "message": exit_byte(*code).to_string() }] }),
                ),
                Self::Success | Self::Failed(_) => None,
            },
            code: matches!(self, Self::Failed(_)).then_some(500),
        };
        serde_json::to_vec(&status).expect("plain strings and numbers are JSON")
    }

    fn message(&self) -> Option<String> {
        match self {
            Self::Success => None,
            Self::ExitCode(code) => {
                Some(format!("command terminated with non-zero exit code: exit status {}", exit_byte(*code)))
            }
            Self::Failed(error) => Some(format!("Internal error occurred: {error}")),
        }
    }
}

/// client-go reads the code as a number of 8 bits, and takes 0 for success.
fn exit_byte(code: i32) -> u8 {
    match code.to_le_bytes()[0] {
        0 => 255,
        low => low,
    }
}

#[derive(Serialize)]
struct MetaStatus {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[cfg(test)]
mod tests;
