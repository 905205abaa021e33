//! Golden files of plans: what a change of the code changes in what pods get.

use std::path::Path;

use serde::Serialize;

/// Compares with a file below `src`; `UPDATE_GOLDEN=1` writes it instead.
pub(crate) fn check(file: &str, value: &impl Serialize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let actual = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(actual == expected, "{file} differs; look at it with UPDATE_GOLDEN=1 and git diff:\n{actual}");
}
