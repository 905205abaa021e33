//! Names: `vendor.com/class=device`.

use std::fmt;
use std::str::FromStr;

/// What the annotations begin with that ask for devices.
const ANNOTATION_PREFIX: &str = "cdi.k8s.io/";

/// A fully qualified device name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceName {
    /// `vendor.com/class`.
    pub(super) kind: String,
    pub(super) device: String,
}

impl DeviceName {
    /// Of parts that were checked.
    pub(super) fn new(kind: &str, device: &str) -> Self {
        Self { kind: kind.to_owned(), device: device.to_owned() }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

impl FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let short: String = text.chars().take(128).collect();
        let bad = |reason: String| {
            format!("{short:?} is no CDI device name such as vendor.com/class=device: {reason}")
        };
        let (kind, name) = text.split_once('=').ok_or_else(|| bad("it has no =".to_owned()))?;
        check_kind(kind).and_then(|()| check_device(name)).map_err(bad)?;
        Ok(Self::new(kind, name))
    }
}

/// The devices that an annotation asks for: `None` if it is about something else. Names are separated by commas.
///
/// # Errors
/// Which name is none.
#[must_use]
pub fn from_annotation(key: &str, value: &str) -> Option<Result<Vec<DeviceName>, String>> {
    key.starts_with(ANNOTATION_PREFIX).then(|| value.split(',').map(|name| name.trim().parse()).collect())
}

/// A vendor and a class, each beginning with a letter and ending with a letter or digit.
pub(super) fn check_kind(kind: &str) -> Result<(), String> {
    let (vendor, class) = kind.split_once('/').ok_or_else(|| format!("kind {kind:?} has no slash"))?;
    check_part("vendor", vendor, |c| c.is_ascii_alphabetic(), "_-.")?;
    check_part("class", class, |c| c.is_ascii_alphabetic(), "_-.")
}

pub(super) fn check_device(name: &str) -> Result<(), String> {
    check_part("device name", name, |c| c.is_ascii_alphanumeric(), "_-.:")
}

fn check_part(what: &str, text: &str, first: impl Fn(char) -> bool, between: &str) -> Result<(), String> {
    let bad = |reason: &str| Err(format!("{what} {text:?} {reason}"));
    if text.is_empty() {
        return bad("is empty");
    }
    if !text.starts_with(first) {
        return bad("begins with a wrong character");
    }
    if !text.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        return bad("ends with neither letter nor digit");
    }
    match text.chars().all(|c| c.is_ascii_alphanumeric() || between.contains(c)) {
        true => Ok(()),
        false => bad(&format!("has a character that is no letter, digit or one of {between}")),
    }
}
