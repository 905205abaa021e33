//! One daemon for a directory: a locked file in it, which the kernel lets go when the process ends, however it ends.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use linkspan_files::{Access, make_dir, open};
use rustix::fs::FlockOperation;

use crate::Error;

pub(super) const NAME: &str = "linkspan.lock";

/// Holds the directory as long as it lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

const PAUSE: Duration = Duration::from_millis(20);

/// Takes `dir` for this process. Waits up to `patience` for one that is about to end.
pub(super) async fn take(dir: &Path, patience: Duration) -> Result<Lock, Error> {
    let path = dir.join(NAME);
    // Whoever can open it can hold it, and keep every daemon from starting.
    let mut file = open(&path, File::options().read(true).write(true), Access::Private)
        .map_err(Error::io("opening", &path))?;
    if !wait(&file, patience).await {
        let mut holder = String::new();
        // Only for the message.
        let _ = file.read_to_string(&mut holder);
        return Err(Error::Locked { path: dir.to_owned(), holder: holder.trim().to_owned() });
    }
    let write = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(Error::io("writing", &path))?;
    Ok(Lock { _file: file })
}

/// The same for a directory in which every file is a record of something, and there is no room for one more.
pub(super) async fn take_itself(dir: &Path, patience: Duration) -> Result<Lock, Error> {
    // Those above it are nobody's in particular.
    let made = dir.parent().map_or(Ok(()), std::fs::create_dir_all);
    made.and_then(|()| make_dir(dir, Access::Private)).map_err(Error::io("making directory", dir))?;
    let file = File::open(dir).map_err(Error::io("opening", dir))?;
    match wait(&file, patience).await {
        true => Ok(Lock { _file: file }),
        false => Err(Error::Locked { path: dir.to_owned(), holder: "unknown".to_owned() }),
    }
}

/// `false` if another has it all the time.
async fn wait(file: &File, patience: Duration) -> bool {
    let since = Instant::now();
    while rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if since.elapsed() > patience {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
    true
}
