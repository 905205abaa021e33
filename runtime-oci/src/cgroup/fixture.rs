//! A group made of plain files, in one directory for all controllers.

use std::fs;
use std::path::Path;

use super::CgroupMode;
use super::layout::{Hierarchy, Layout};

/// What `read` finds in it.
pub(super) fn of_files<T>(
    mode: CgroupMode,
    controllers: &[&str],
    files: &[(&str, &str)],
    read: impl FnOnce(&Layout, &Path) -> T,
) -> T {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("g")).unwrap();
    for (name, text) in files {
        fs::write(dir.path().join("g").join(name), text).unwrap();
    }
    let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
    let layout = Layout {
        mode,
        hierarchies: vec![Hierarchy { mount: dir.path().to_owned(), controllers }],
        unified: None,
    };
    read(&layout, Path::new("g"))
}
