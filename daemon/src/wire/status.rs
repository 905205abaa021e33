//! Errors as gRPC codes: the one place where codes are chosen. No match has a wildcard, so that a new error
//! does not compile until someone picks its code.

use linkspan_image as image;
use linkspan_pod_sandbox as pods;
use linkspan_pod_sandbox::Refusal;
use linkspan_pod_sandbox::plugins::PluginError;
use linkspan_runtime_oci as runtime;
use tonic::{Code, Status};

use super::field::BadField;
use crate::streaming::TooMany;

/// An error that a client is told of.
pub(crate) trait ToStatus: std::error::Error {
    fn code(&self) -> Code;

    /// The error and its causes, with the word in front that the kubelet looks for, if there is one.
    fn to_status(&self) -> Status {
        Status::new(self.code(), self.to_string())
    }
}

/// For `map_err`.
pub(crate) fn of(error: impl ToStatus) -> Status {
    error.to_status()
}

/// A listener was too slow. It has to list what is there now, and listen anew.
pub(crate) fn missed(events: u64) -> Status {
    Status::new(Code::Aborted, format!("{events} events were missed: list anew, then subscribe again"))
}

/// The call has taken longer than its client waits.
pub(crate) fn too_late() -> Status {
    Status::new(Code::DeadlineExceeded, "the time that the client gave this call is over")
}

/// For streams that have no end of their own.
pub(crate) fn ending() -> Status {
    Status::new(Code::Unavailable, "linkspan is going down")
}

impl From<BadField> for Status {
    fn from(bad: BadField) -> Self {
        bad.to_status()
    }
}

impl ToStatus for BadField {
    fn code(&self) -> Code {
        Code::InvalidArgument
    }
}

/// As k8s.io/cri-streaming has it.
impl ToStatus for TooMany {
    fn code(&self) -> Code {
        Code::ResourceExhausted
    }
}

impl ToStatus for image::Error {
    fn code(&self) -> Code {
        match self {
            Self::BadReference { .. } | Self::BadDigest { .. } | Self::BadArgument { .. } => {
                Code::InvalidArgument
            }
            Self::NotFound { .. } | Self::NoSuchImage { .. } | Self::NoSuchRootfs { .. } => Code::NotFound,
            Self::Unauthorized { .. } => Code::PermissionDenied,
            Self::RegistryUnavailable { .. } => Code::Unavailable,
            Self::TimedOut { .. } => Code::DeadlineExceeded,
            Self::InUse { .. } | Self::BadConfig { .. } | Self::NotMappable { .. } => {
                Code::FailedPrecondition
            }
            // Not the node's fault: what the registry or the archive holds is not usable here.
            Self::DigestMismatch { .. } | Self::SizeMismatch { .. } | Self::BadLayer { .. } => Code::DataLoss,
            Self::NoPlatform { .. } => Code::NotFound,
            Self::BadManifest { .. } | Self::BadArchive { .. } => Code::InvalidArgument,
            Self::Unimplemented { .. } => Code::Unimplemented,
            Self::Io { .. } | Self::TaskLost { .. } => Code::Internal,
        }
    }

    /// k8s.io/cri-api pkg/errors: the kubelet turns these words into the pod's waiting reason.
    fn to_status(&self) -> Status {
        if matches!(self, Self::RegistryUnavailable { .. } | Self::TimedOut { .. }) {
            return Status::new(self.code(), format!("RegistryUnavailable: {self}"));
        }
        Status::new(self.code(), self.to_string())
    }
}

impl ToStatus for runtime::Error {
    fn code(&self) -> Code {
        match self {
            Self::BadSpec { .. } | Self::NoSuchName { .. } | Self::BadSeccompProfile { .. } => {
                Code::InvalidArgument
            }
            Self::RecursiveReadOnlyUnsupported { .. } => Code::InvalidArgument,
            Self::NoSuchContainer { .. } | Self::NoSuchCgroup { .. } => Code::NotFound,
            Self::NotRunning { .. } => Code::NotFound,
            Self::TimedOut { .. } => Code::DeadlineExceeded,
            // Of the one handler, until it answers.
            Self::NoFeatures { .. } => Code::Unavailable,
            Self::Unimplemented(_) => Code::Unimplemented,
            Self::RuntimeMissing { .. } | Self::BadHookFile { .. } | Self::BadBaseSpec { .. } => {
                Code::FailedPrecondition
            }
            Self::Runtime { .. } | Self::CgroupBusy { .. } | Self::Io { .. } => Code::Internal,
            Self::MonitorLost { .. }
            | Self::MonitorRefused { .. }
            | Self::Monitor { .. }
            | Self::StillRuns { .. } => Code::Internal,
        }
    }

    /// k8s.io/cri-api pkg/errors, as for images.
    fn to_status(&self) -> Status {
        if matches!(self, Self::RecursiveReadOnlyUnsupported { .. }) {
            return Status::new(self.code(), format!("RROUnsupported: {self}"));
        }
        Status::new(self.code(), self.to_string())
    }
}

impl ToStatus for pods::network::Error {
    fn code(&self) -> Code {
        match self {
            Self::NotReady { .. } => Code::Unavailable,
            Self::BadRequest { .. } => Code::InvalidArgument,
            Self::TimedOut { .. } => Code::DeadlineExceeded,
            Self::PortTaken { .. }
            | Self::BadConfig { .. }
            | Self::NoPlugin { .. }
            | Self::BadSubnet { .. } => Code::FailedPrecondition,
            Self::NoAddress { .. } => Code::ResourceExhausted,
            Self::Unimplemented { .. } => Code::Unimplemented,
            Self::Plugin { .. } | Self::Netlink { .. } | Self::Io { .. } | Self::Lost { .. } => {
                Code::Internal
            }
        }
    }
}

impl ToStatus for pods::namespaces::Error {
    fn code(&self) -> Code {
        match self {
            Self::Sysctl { .. } | Self::SysctlWrite { .. } => Code::InvalidArgument,
            Self::Step { .. } | Self::Io { .. } | Self::Lost { .. } => Code::Internal,
        }
    }
}

impl ToStatus for pods::Error {
    fn code(&self) -> Code {
        match self {
            Self::NoSuchSandbox(_) | Self::NoSuchContainer(_) | Self::NoSuchImage(_) => Code::NotFound,
            // CRI: the kubelet takes both for "there is nothing to act on".
            Self::Ambiguous { .. } | Self::NotRunning { .. } => Code::NotFound,
            Self::Refused(refusal) => match refusal {
                // The next daemon will take it.
                Refusal::ShuttingDown => Code::Unavailable,
                Refusal::NotCreated { .. }
                | Refusal::NotRunning { .. }
                | Refusal::Exited { .. }
                | Refusal::MemoryInUse { .. }
                | Refusal::BeingKilled { .. }
                | Refusal::SandboxNotReady { .. }
                | Refusal::SandboxStopping { .. } => Code::FailedPrecondition,
                Refusal::SandboxMetadataTaken { .. } | Refusal::ContainerMetadataTaken { .. } => {
                    Code::AlreadyExists
                }
            },
            Self::BadConfig { .. } => Code::InvalidArgument,
            Self::TimedOut { .. } => Code::DeadlineExceeded,
            Self::NoHandler { .. } => Code::FailedPrecondition,
            // What this host has no means for.
            Self::NoCheckpoint(_) | Self::Unimplemented(_) => Code::Unimplemented,
            Self::PortUnreachable { .. } | Self::NoMonitor { .. } => Code::Unavailable,
            Self::FileSystemHangs { .. } => Code::DeadlineExceeded,
            Self::Store { .. } | Self::Lost { .. } => Code::Internal,
            Self::ImageVolume { source, .. } => source.code(),
            Self::Image(error) => error.code(),
            Self::Runtime(error) => error.code(),
            Self::Network(error) => error.code(),
            Self::Namespaces(error) => error.code(),
            Self::Plugin(PluginError::Refused(_)) => Code::FailedPrecondition,
            // It may come.
            Self::Plugin(PluginError::Missing(_)) => Code::Unavailable,
            Self::Joined(error) => error.code(),
        }
    }

    /// The inner error's own status where it has a word for the kubelet.
    fn to_status(&self) -> Status {
        match self {
            // k8s.io/cri-api pkg/errors, as for images.
            Self::ImageVolume { .. } => Status::new(self.code(), format!("ImageVolumeMountFailed: {self}")),
            Self::Image(error) => error.to_status(),
            Self::Runtime(error) => error.to_status(),
            Self::Joined(error) => error.to_status(),
            Self::NoSuchSandbox(_)
            | Self::NoSuchContainer(_)
            | Self::NoSuchImage(_)
            | Self::Ambiguous { .. }
            | Self::NotRunning { .. }
            | Self::Refused(_)
            | Self::BadConfig { .. }
            | Self::TimedOut { .. }
            | Self::NoCheckpoint(_)
            | Self::Unimplemented(_)
            | Self::PortUnreachable { .. }
            | Self::FileSystemHangs { .. }
            | Self::NoMonitor { .. }
            | Self::NoHandler { .. }
            | Self::Store { .. }
            | Self::Lost { .. }
            | Self::Network(_)
            | Self::Plugin(_)
            | Self::Namespaces(_) => Status::new(self.code(), self.to_string()),
        }
    }
}

/// What an answer means to the one who reads the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Success,
    /// Asked in the course of things: is it (still) there, is it built.
    Question,
    /// The client's mistake, or a condition that it has to wait for.
    Refusal,
    /// Something is wrong on this node.
    Failure,
}

pub(crate) fn weight(code: Code) -> Weight {
    match code {
        Code::Ok => Weight::Success,
        Code::NotFound | Code::Unimplemented => Weight::Question,
        Code::Unknown | Code::Internal | Code::DataLoss => Weight::Failure,
        Code::Cancelled
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::Unauthenticated => Weight::Refusal,
    }
}

/// As gRPC spells it; the metrics' label.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Cancelled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
