//! What a checkpoint's archive may hold.

#[path = "../../../fuzz/mended.rs"]
mod mended;
#[path = "../../../fuzz/scratch.rs"]
mod scratch;

use std::fs;
use std::path::Path;

use mended::mended;
use scratch::scratch;

use super::archive::{IMAGES, read_config, read_deleted, unpack};

const FIELD: &str = "config.image.image";

/// An archive, unpacked into a directory of its own.
///
/// # Panics
/// If anything is put elsewhere, or is no file, or an error does not name the field.
pub fn checkpoint(data: &[u8]) {
    let dir = scratch();
    let (archive, to) = (dir.path().join("c.tar"), dir.path().join("to"));
    fs::create_dir(&to).expect("a directory");
    fs::write(&archive, mended(data)).expect("a file");
    let done = unpack(&archive, &to, FIELD).and_then(|()| {
        let config = read_config(&to, FIELD)?;
        assert!(config.image_names().all(|name| !name.is_empty()));
        read_deleted(&to, FIELD)
    });
    if let Err(error) = done {
        let text = error.to_string();
        assert!(
            text.contains(FIELD) || text.contains(&*to.to_string_lossy()),
            "{text} names neither field nor file"
        );
    }
    assert_eq!(names(dir.path()), ["c.tar", "to"]);
    for name in names(&to) {
        let kind = fs::symlink_metadata(to.join(&name)).expect("what is listed").file_type();
        assert!(if name == IMAGES { kind.is_dir() } else { kind.is_file() }, "{name} is {kind:?}");
    }
    for name in names(&to.join(IMAGES)) {
        assert!(
            fs::symlink_metadata(to.join(IMAGES).join(&name)).expect("what is listed").is_file(),
            "{name}"
        );
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
