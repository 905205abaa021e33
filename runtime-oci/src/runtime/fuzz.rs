//! What an OCI runtime may say.

use super::features::parse;
use super::words::words;

/// The answer of `features`, and what it logs or writes to stderr.
///
/// # Panics
/// On a fault.
pub fn features(data: &[u8]) {
    let features = parse(data).unwrap_or_default();
    let numbers: Vec<u64> =
        features.oci_version.split('.').map(|part| part.parse().expect("a number")).collect();
    assert!(numbers.len() == 3 && numbers <= vec![1, 3, 0], "{}", features.oci_version);
    let said = String::from_utf8_lossy(data);
    for words in [words(&said, ""), words("", &said)] {
        assert!(!words.is_empty() && words.len() < 3000, "{} bytes of words", words.len());
    }
}
