//! A request's field that cannot be converted, and the way to it.

use std::time::Duration;

/// The caller's mistake in one field; becomes `INVALID_ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub(crate) struct BadField {
    /// With CRI's names, from the request down: `config.linux.security_context.seccomp`.
    pub(crate) field: String,
    pub(crate) reason: String,
}

impl BadField {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// Says in which message a field is, on the way up.
pub(crate) trait Inside<T> {
    /// Puts `parent` before the field's name.
    fn inside(self, parent: &str) -> Result<T, BadField>;
    /// The same for an entry of a list.
    fn inside_entry(self, parent: &str, index: usize) -> Result<T, BadField>;
}

impl<T> Inside<T> for Result<T, BadField> {
    fn inside(self, parent: &str) -> Self {
        self.map_err(|bad| BadField { field: format!("{parent}.{}", bad.field), ..bad })
    }

    fn inside_entry(self, parent: &str, index: usize) -> Self {
        self.map_err(|bad| BadField { field: format!("{parent}[{index}].{}", bad.field), ..bad })
    }
}

/// A message that must be there.
pub(crate) fn required<T>(value: Option<T>, field: &str) -> Result<T, BadField> {
    value.ok_or_else(|| BadField::new(field, "missing"))
}

/// A string that must not be empty.
pub(crate) fn not_empty(value: String, field: &str) -> Result<String, BadField> {
    if value.is_empty() { Err(BadField::new(field, "empty")) } else { Ok(value) }
}

/// An enum by its number; `E` is prost's type.
pub(crate) fn known<E: TryFrom<i32>>(number: i32, field: &str) -> Result<E, BadField> {
    E::try_from(number).map_err(|_| BadField::new(field, format!("unknown value {number}")))
}

/// Converts each entry of a list, naming the one that is wrong.
pub(crate) fn each<W, M>(
    list: Vec<W>,
    field: &str,
    convert: impl Fn(W) -> Result<M, BadField>,
) -> Result<Vec<M>, BadField> {
    list.into_iter().enumerate().map(|(index, item)| convert(item).inside_entry(field, index)).collect()
}

/// Seconds, as CRI counts time-outs.
pub(crate) fn seconds(value: i64, field: &str) -> Result<Duration, BadField> {
    // Longer than any node lives, and short enough to be added to a point in time.
    const MOST: u64 = 100 * 365 * 24 * 60 * 60;
    let seconds = u64::try_from(value).map_err(|_| BadField::new(field, format!("{value} is negative")))?;
    Ok(Duration::from_secs(seconds.min(MOST)))
}
