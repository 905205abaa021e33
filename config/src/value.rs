//! The types an option can have: to and from TOML, and from the plain text of flags and environment.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Value;

pub(crate) mod check;
pub(crate) mod container;

use container::{DeviceDefault, EnvDefault, MountDefault, Ulimit};

/// CRI `CgroupDriver`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupDriver {
    #[default]
    Cgroupfs,
    Systemd,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// How a handler's sandboxes are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxKind {
    /// Our own pause process holds the namespaces.
    #[default]
    Native,
    /// The first container goes through the runtime with the sandbox annotations.
    Oci,
}

/// One runtime handler (CRI `runtime_handler`, Kubernetes RuntimeClass).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handler {
    /// The OCI runtime's binary, absolute.
    pub path: PathBuf,
    #[serde(default)]
    pub sandbox: SandboxKind,
    /// Annotations of every container's OCI spec; those of the pod and the container go before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default_annotations: BTreeMap<String, String>,
    /// Patterns of annotations that pods may set although they steer the runtime (`run.oci.*`): those that its
    /// `features` call potentially unsafe, and those that some runtime is known to be steered by, are kept from it
    /// otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_annotations: Vec<String>,
    /// A privileged container gets only the devices it asks for, not all of the host's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged_without_host_devices: bool,
    /// An OCI spec in JSON that every container's own is laid over; absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_spec: Option<PathBuf>,
    /// Containers may make cgroups below their own; needs cgroup v2.
    #[serde(default, skip_serializing_if = "is_false")]
    pub cgroup_writable: bool,
}

impl Handler {
    /// A handler of a native sandbox, without options.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            sandbox: SandboxKind::default(),
            default_annotations: BTreeMap::new(),
            allowed_annotations: Vec::new(),
            privileged_without_host_devices: false,
            base_spec: None,
            cgroup_writable: false,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// A value that an option can have.
pub(crate) trait OptionValue: Sized {
    /// Named in messages.
    const KIND: &'static str;
    /// Whether a later source adds entries instead of replacing the whole.
    const MERGES: bool = false;
    fn from_toml(value: &Value) -> Result<Self, String>;
    fn to_toml(&self) -> Value;
    /// From a flag or an environment variable; lists are separated by commas.
    fn from_text(text: &str) -> Result<Self, String>;
}

fn wrong<T: OptionValue>(value: &Value) -> String {
    format!("expected {}, found {}", T::KIND, value.type_str())
}

impl OptionValue for String {
    const KIND: &'static str = "a string";
    fn from_toml(value: &Value) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| wrong::<Self>(value))
    }
    fn to_toml(&self) -> Value {
        Value::String(self.clone())
    }
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl OptionValue for PathBuf {
    const KIND: &'static str = "a path";
    fn from_toml(value: &Value) -> Result<Self, String> {
        value.as_str().map(PathBuf::from).ok_or_else(|| wrong::<Self>(value))
    }
    fn to_toml(&self) -> Value {
        Value::String(self.to_string_lossy().into_owned())
    }
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(PathBuf::from(text))
    }
}

impl OptionValue for bool {
    const KIND: &'static str = "true or false";
    fn from_toml(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wrong::<Self>(value))
    }
    fn to_toml(&self) -> Value {
        Value::Boolean(*self)
    }
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}, found `{text}`", Self::KIND))
    }
}

impl OptionValue for u64 {
    const KIND: &'static str = "a whole number from 0";
    fn from_toml(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().ok_or_else(|| wrong::<Self>(value))?;
        u64::try_from(number).map_err(|_| format!("expected {}, found {number}", Self::KIND))
    }
    fn to_toml(&self) -> Value {
        // TOML integers are signed; what does not fit is out of any option's range.
        Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
    }
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}, found `{text}`", Self::KIND))
    }
}

impl OptionValue for usize {
    const KIND: &'static str = <u64 as OptionValue>::KIND;
    fn from_toml(value: &Value) -> Result<Self, String> {
        let number = <u64 as OptionValue>::from_toml(value)?;
        usize::try_from(number).map_err(|_| format!("{number} is too large"))
    }
    fn to_toml(&self) -> Value {
        (*self as u64).to_toml()
    }
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}, found `{text}`", Self::KIND))
    }
}

impl OptionValue for u16 {
    const KIND: &'static str = "a whole number from 0 to 65535";
    fn from_toml(value: &Value) -> Result<Self, String> {
        let number = value.as_integer().ok_or_else(|| wrong::<Self>(value))?;
        u16::try_from(number).map_err(|_| format!("expected {}, found {number}", Self::KIND))
    }
    fn to_toml(&self) -> Value {
        Value::Integer((*self).into())
    }
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}, found `{text}`", Self::KIND))
    }
}

impl OptionValue for Duration {
    const KIND: &'static str = "a duration such as \"500ms\", \"30s\" or \"2m\"";
    fn from_toml(value: &Value) -> Result<Self, String> {
        Self::from_text(value.as_str().ok_or_else(|| wrong::<Self>(value))?)
    }
    fn to_toml(&self) -> Value {
        let text = if self.subsec_millis() > 0 {
            format!("{}ms", self.as_millis())
        } else if self.as_secs() > 0 && self.as_secs().is_multiple_of(3600) {
            format!("{}h", self.as_secs() / 3600)
        } else if self.as_secs() > 0 && self.as_secs().is_multiple_of(60) {
            format!("{}m", self.as_secs() / 60)
        } else {
            format!("{}s", self.as_secs())
        };
        Value::String(text)
    }
    fn from_text(text: &str) -> Result<Self, String> {
        let bad = || format!("expected {}, found `{text}`", Self::KIND);
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u64 = text[..digits].parse().map_err(|_| bad())?;
        let milliseconds = match &text[digits..] {
            "ms" => Some(number),
            "s" => number.checked_mul(1000),
            "m" => number.checked_mul(60_000),
            "h" => number.checked_mul(3_600_000),
            _ => None,
        };
        milliseconds.map(Duration::from_millis).ok_or_else(bad)
    }
}

/// An empty string stands for nothing: TOML has no null.
impl<T: OptionValue> OptionValue for Option<T> {
    const KIND: &'static str = T::KIND;
    fn from_toml(value: &Value) -> Result<Self, String> {
        if value.as_str() == Some("") { Ok(None) } else { T::from_toml(value).map(Some) }
    }
    fn to_toml(&self) -> Value {
        self.as_ref().map_or_else(|| Value::String(String::new()), T::to_toml)
    }
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text).map(Some) }
    }
}

impl<T: OptionValue> OptionValue for Vec<T> {
    const KIND: &'static str = "a list";
    fn from_toml(value: &Value) -> Result<Self, String> {
        value.as_array().ok_or_else(|| wrong::<Self>(value))?.iter().map(T::from_toml).collect()
    }
    fn to_toml(&self) -> Value {
        Value::Array(self.iter().map(T::to_toml).collect())
    }
    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(T::from_text).collect()
    }
}

impl<T: OptionValue> OptionValue for BTreeMap<String, T> {
    const KIND: &'static str = "a table";
    const MERGES: bool = true;
    fn from_toml(value: &Value) -> Result<Self, String> {
        let table = value.as_table().ok_or_else(|| wrong::<Self>(value))?;
        let entry = |(name, value): (&String, &Value)| {
            T::from_toml(value)
                .map(|value| (name.clone(), value))
                .map_err(|reason| format!("{name}: {reason}"))
        };
        table.iter().map(entry).collect()
    }
    fn to_toml(&self) -> Value {
        Value::Table(self.iter().map(|(name, value)| (name.clone(), value.to_toml())).collect())
    }
    fn from_text(text: &str) -> Result<Self, String> {
        let entry = |part: &str| {
            let (name, value) =
                part.split_once('=').ok_or_else(|| format!("expected NAME=VALUE, found `{part}`"))?;
            Ok((name.trim().to_owned(), T::from_text(value.trim())?))
        };
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(entry).collect()
    }
}

/// From text a handler is its path.
impl OptionValue for Handler {
    const KIND: &'static str = "a table with `path` and options of the handler";
    fn from_toml(value: &Value) -> Result<Self, String> {
        value.clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }
    fn to_toml(&self) -> Value {
        // Text, switches and lists of text always serialise.
        Value::try_from(self).unwrap_or_else(|_| Value::String(String::new()))
    }
    fn from_text(text: &str) -> Result<Self, String> {
        Ok(Handler::new(text))
    }
}

macro_rules! by_serde {
    ($ty:ty, $kind:literal) => {
        impl OptionValue for $ty {
            const KIND: &'static str = $kind;
            fn from_toml(value: &Value) -> Result<Self, String> {
                let found = || format!("expected {}, found {value}", Self::KIND);
                value.clone().try_into().map_err(|_| found())
            }
            fn to_toml(&self) -> Value {
                // A unit variant always serialises.
                Value::try_from(self).unwrap_or_else(|_| Value::String(String::new()))
            }
            fn from_text(text: &str) -> Result<Self, String> {
                Self::from_toml(&Value::String(text.to_owned()))
            }
        }
    };
}

/// As their own text, in TOML and elsewhere.
macro_rules! by_text {
    ($ty:ty, $kind:literal) => {
        impl OptionValue for $ty {
            const KIND: &'static str = $kind;
            fn from_toml(value: &Value) -> Result<Self, String> {
                Self::from_text(value.as_str().ok_or_else(|| wrong::<Self>(value))?)
            }
            fn to_toml(&self) -> Value {
                Value::String(self.to_string())
            }
            fn from_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("expected {}, found `{text}`", Self::KIND))
            }
        }
    };
}

by_text!(SocketAddr, "an address with a port");
by_text!(IpAddr, "an IP address");
by_text!(Ulimit, "a limit such as `nofile=1024:4096`");
by_text!(DeviceDefault, "a device such as `/dev/fuse:/dev/fuse:rwm`");
by_text!(MountDefault, "a mount such as `/host/path:/container/path:ro`");
by_text!(EnvDefault, "a variable such as `NAME=value`");

by_serde!(CgroupDriver, "`cgroupfs` or `systemd`");
by_serde!(LogFormat, "`text` or `json`");
by_serde!(TlsVersion, "`1.2` or `1.3`");
