//! What every container can be given by configuration, each entry a short text such as other runtimes' users know.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A resource limit of processes: `nofile=1024:4096`, soft and hard; one number is both, `-1` is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// `RLIMIT_NOFILE`.
    pub kind: String,
    pub soft: u64,
    pub hard: u64,
}

/// A device of the host: `/dev/fuse`, `/dev/fuse:/dev/other` or `/dev/fuse:/dev/other:rwm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDefault {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// A bind mount: `/host/path:/container/path`, with `:ro` behind it read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountDefault {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    pub readonly: bool,
}

/// A variable: `NAME=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvDefault {
    pub name: String,
    pub value: String,
}

/// setrlimit(2), the names without `RLIMIT_`, in lower case.
const LIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

impl FromStr for Ulimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |reason: &str| format!("`{text}`: {reason}");
        let (name, limits) = text.split_once('=').ok_or_else(|| bad("has no `=`"))?;
        let short = name.to_ascii_lowercase();
        let short = short.strip_prefix("rlimit_").unwrap_or(&short);
        if !LIMITS.contains(&short) {
            return Err(bad(&format!("the limit is none of {}", LIMITS.join(", "))));
        }
        let number = |text: &str| match text {
            "-1" | "unlimited" => Ok(u64::MAX),
            text => text.parse().map_err(|_| bad("a limit is no number")),
        };
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if soft > hard {
            return Err(bad("the soft limit is above the hard one"));
        }
        Ok(Self { kind: format!("RLIMIT_{}", short.to_ascii_uppercase()), soft, hard })
    }
}

impl fmt::Display for Ulimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |limit: u64| if limit == u64::MAX { "-1".to_owned() } else { limit.to_string() };
        let name = self.kind.trim_start_matches("RLIMIT_").to_ascii_lowercase();
        write!(f, "{name}={}:{}", number(self.soft), number(self.hard))
    }
}

/// Two absolute paths without `..`; the second is the first if it is left out.
fn paths(text: &str) -> Result<(PathBuf, PathBuf, Option<&str>), String> {
    let mut parts = text.splitn(3, ':');
    let host = parts.next().unwrap_or_default();
    let container = parts.next().unwrap_or(host);
    for path in [host, container] {
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path == "/" {
            return Err(format!("`{text}`: `{path}` is no clean absolute path"));
        }
    }
    Ok((host.into(), container.into(), parts.next()))
}

impl FromStr for DeviceDefault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host_path, container_path, permissions) = paths(text)?;
        let permissions = permissions.unwrap_or("rwm");
        if permissions.is_empty() || permissions.chars().any(|letter| !"rwm".contains(letter)) {
            return Err(format!("`{text}`: permissions are some of r, w and m"));
        }
        Ok(Self { host_path, container_path, permissions: permissions.to_owned() })
    }
}

impl fmt::Display for DeviceDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.host_path.display(), self.container_path.display(), self.permissions)
    }
}

impl FromStr for MountDefault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host_path, container_path, mode) = paths(text)?;
        let readonly = match mode {
            None | Some("rw") => false,
            Some("ro") => true,
            Some(_) => return Err(format!("`{text}`: what follows the paths is `ro` or `rw`")),
        };
        Ok(Self { host_path, container_path, readonly })
    }
}

impl fmt::Display for MountDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.readonly { "ro" } else { "rw" };
        write!(f, "{}:{}:{mode}", self.host_path.display(), self.container_path.display())
    }
}

impl FromStr for EnvDefault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
            _ => Err(format!("`{text}` is not of the form NAME=value")),
        }
    }
}

impl fmt::Display for EnvDefault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

#[cfg(test)]
mod tests;
