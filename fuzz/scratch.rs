//! Not a crate: who fuzzes what wants files includes this file.

use std::path::Path;

use tempfile::TempDir;

/// A directory in memory, where there is such a file system and nobody asks for another place: `contrib/fuzz` removes what a
/// target leaves, since libFuzzer ends the process without a word to it.
pub(crate) fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = std::env::var_os("TMPDIR").is_none() && memory.is_dir();
    if in_memory { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a directory")
}
