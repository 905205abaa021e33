//! The files of a layout directory or of an archive, by name.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use rustix::fs::{CWD, Mode, OFlags};

use crate::Error;
use crate::layer::{Archive, MemberKind, Name};

/// Manifests, indexes and configurations are small; so is what we hold of them in memory.
const MAX_DOCUMENT_BYTES: u64 = 16 << 20;

/// As many links from name to name as are followed; `docker save` of old needs one.
const MAX_LINKS: usize = 8;

/// What `load` was given.
pub(super) struct Contents {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Directory,
    /// A seekable tar and where its members are.
    Archive {
        file: File,
        places: HashMap<Vec<u8>, Place>,
    },
}

#[derive(Clone)]
enum Place {
    Data { offset: u64, length: u64 },
    Link(Vec<u8>),
}

impl Contents {
    /// A compressed archive is inflated into a nameless file in `scratch_dir` first. Blocking.
    pub(super) fn open(path: &Path, scratch_dir: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(Error::io("opening", path))?;
        if metadata.is_dir() {
            return Ok(Self { path: path.to_owned(), kind: Kind::Directory });
        }
        let file = File::open(path).map_err(Error::io("opening", path))?;
        let file = seekable(file, path, scratch_dir)?;
        let places = places(&file).map_err(|reason| Error::BadArchive { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), kind: Kind::Archive { file, places } })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// For `map_err` and the like: the archive is at fault.
    pub(super) fn bad(&self, reason: impl Into<String>) -> Error {
        Error::BadArchive { path: self.path.clone(), reason: reason.into() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match &self.kind {
            Kind::Directory => self.below(name).is_ok_and(|path| path.is_file()),
            Kind::Archive { .. } => self.place(name).is_ok(),
        }
    }

    /// Bytes of a file.
    pub(super) fn size(&self, name: &str) -> Result<u64, Error> {
        match &self.kind {
            Kind::Directory => {
                let path = self.below(name)?;
                Ok(std::fs::metadata(&path).map_err(Error::io("opening", &path))?.len())
            }
            Kind::Archive { .. } => self.place(name).map(|(_, length)| length),
        }
    }

    /// A file from its beginning. Several can be read at a time.
    pub(super) fn read(&self, name: &str) -> Result<Box<dyn Read + Send + '_>, Error> {
        match &self.kind {
            Kind::Directory => {
                let path = self.below(name)?;
                Ok(Box::new(File::open(&path).map_err(Error::io("opening", &path))?))
            }
            Kind::Archive { file, .. } => {
                let (offset, length) = self.place(name)?;
                Ok(Box::new(Window { file, offset, end: offset + length }))
            }
        }
    }

    /// A whole document.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut source = self.read(name)?.take(MAX_DOCUMENT_BYTES + 1);
        source.read_to_end(&mut bytes).map_err(Error::io("reading", &self.path))?;
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(self.bad(format!("{name} is too large for a document")));
        }
        Ok(bytes)
    }

    fn below(&self, name: &str) -> Result<PathBuf, Error> {
        let clean = Name::parse(name.as_bytes()).map_err(|fault| self.bad(fault.to_string()))?;
        Ok(self.path.join(OsStr::from_bytes(clean.as_bytes())))
    }

    fn place(&self, name: &str) -> Result<(u64, u64), Error> {
        let Kind::Archive { places, .. } = &self.kind else {
            return Err(self.bad("is a directory"));
        };
        let missing = || self.bad(format!("{name} is missing"));
        let mut name = Name::parse(name.as_bytes()).map_err(|_| missing())?.as_bytes().to_owned();
        for _ in 0..MAX_LINKS {
            match places.get(&name) {
                Some(Place::Data { offset, length }) => return Ok((*offset, *length)),
                Some(Place::Link(target)) => name.clone_from(target),
                None => return Err(missing()),
            }
        }
        Err(missing())
    }
}

/// The file itself if it is a plain tar, else its inflated content.
fn seekable(mut file: File, path: &Path, scratch_dir: &Path) -> Result<File, Error> {
    let mut magic = [0; 4];
    let length = file.read_at(&mut magic, 0).map_err(Error::io("reading", path))?;
    let inflate = |source: &mut dyn Read| {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let scratch = rustix::fs::openat(CWD, scratch_dir, flags, Mode::RUSR | Mode::WUSR)
            .map_err(Error::io("creating a scratch file in", scratch_dir))?;
        let mut scratch = File::from(scratch);
        io::copy(source, &mut scratch).map_err(|error| Error::BadArchive {
            path: path.to_owned(),
            reason: format!("inflating: {error}"),
        })?;
        scratch.seek(SeekFrom::Start(0)).map_err(Error::io("reading", scratch_dir))?;
        Ok(scratch)
    };
    match magic[..length] {
        [0x1f, 0x8b, ..] => inflate(&mut MultiGzDecoder::new(BufReader::new(&mut file))),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            inflate(&mut zstd::Decoder::new(&mut file).map_err(Error::io("inflating", path))?)
        }
        _ => Ok(file),
    }
}

/// Reads the archive once, to know where everything is.
fn places(file: &File) -> Result<HashMap<Vec<u8>, Place>, String> {
    let at = Rc::new(Cell::new(0));
    let counted = Counted { source: BufReader::with_capacity(1 << 20, file), at: at.clone() };
    let mut archive = Archive::new(counted);
    let mut places = HashMap::new();
    let said = |fault: crate::layer::Fault| fault.to_string();
    while let Some(member) = archive.next_member().map_err(said)? {
        let name = Name::parse(&member.path).map_err(said)?;
        let place = match &member.kind {
            MemberKind::File { size, extents } if extents.iter().map(|e| e.length).sum::<u64>() == *size => {
                Place::Data { offset: at.get(), length: *size }
            }
            MemberKind::HardLink { target } => {
                Place::Link(Name::parse(target).map_err(said)?.as_bytes().to_owned())
            }
            MemberKind::Symlink { target } => {
                let parent = name.split().map(|(parent, _)| parent).unwrap_or_default();
                let from_parent = [parent, b"/", target].concat();
                Place::Link(Name::parse(&from_parent).map_err(said)?.as_bytes().to_owned())
            }
            _ => continue,
        };
        places.insert(name.as_bytes().to_owned(), place);
    }
    if places.is_empty() {
        return Err("holds no files: not a tar archive?".to_owned());
    }
    Ok(places)
}

struct Counted<R> {
    source: R,
    at: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buffer)?;
        self.at.set(self.at.get() + got as u64);
        Ok(got)
    }
}

/// A part of a file, read by position, so that readers do not disturb each other.
struct Window<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.file.read_at(&mut buffer[..left], self.offset)?;
        self.offset += got as u64;
        Ok(got)
    }
}
