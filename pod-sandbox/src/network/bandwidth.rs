//! The bandwidth annotations of a pod.

use std::collections::BTreeMap;

use super::Error;

/// What leaves the pod, as the Kubernetes documentation names it.
const EGRESS: &str = "kubernetes.io/egress-bandwidth";
/// What enters the pod.
const INGRESS: &str = "kubernetes.io/ingress-bandwidth";

/// The kubelet's own bounds (kubernetes, pkg/util/bandwidth): 1 kbit/s to 1 Pbit/s.
const SANE_BITS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000_000_000_000;

/// Limits in bits per second; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bandwidth {
    pub(crate) ingress_bits: u64,
    pub(crate) egress_bits: u64,
}

impl Bandwidth {
    /// Reads the annotations; `pod` is for the error.
    pub(crate) fn from_annotations(annotations: &BTreeMap<String, String>, pod: &str) -> Result<Self, Error> {
        let read = |name: &str| match annotations.get(name) {
            None => Ok(0),
            Some(value) => parse_quantity(value).filter(|bits| SANE_BITS.contains(bits)).ok_or_else(|| {
                let message = format!(
                    "annotation {name} = {value:?} is not a bandwidth between 1k and 1P bits per second"
                );
                Error::BadRequest { pod: pod.to_owned(), message }
            }),
        };
        Ok(Self { ingress_bits: read(INGRESS)?, egress_bits: read(EGRESS)? })
    }
}

/// A Kubernetes quantity (apimachinery, pkg/api/resource): a decimal number and a suffix, rounded
/// up to a whole number. `None` for anything else, for negative numbers and for what overflows.
fn parse_quantity(text: &str) -> Option<u64> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || number == "." || fraction.contains('.') {
        return None;
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().ok()?;
    let (numerator, denominator) = suffix_factor(suffix)?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(denominator)?;
    u64::try_from(mantissa.checked_mul(numerator)?.div_ceil(scale)).ok()
}

/// The suffix as a fraction.
fn suffix_factor(suffix: &str) -> Option<(u128, u128)> {
    let thousands = |n: u32| 1000_u128.pow(n);
    let factor = match suffix {
        "n" => (1, thousands(3)),
        "u" => (1, thousands(2)),
        "m" => (1, thousands(1)),
        "" => (1, 1),
        "k" => (thousands(1), 1),
        "M" => (thousands(2), 1),
        "G" => (thousands(3), 1),
        "T" => (thousands(4), 1),
        "P" => (thousands(5), 1),
        "E" => (thousands(6), 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            let factor = 10_u128.checked_pow(power.unsigned_abs())?;
            if power < 0 { (1, factor) } else { (factor, 1) }
        }
    };
    Some(factor)
}

#[cfg(test)]
mod tests;
