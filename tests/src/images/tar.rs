//! A tar writer that can say everything a layer may hold: PAX records, sparse files in both forms, xattrs, devices.
//! The same entries give the same bytes, always.

use std::io::{self, Write};
use std::path::PathBuf;

use super::content::Content;

const BLOCK: usize = 512;

/// Seconds and nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Time(pub u64, pub u32);

/// One member of an archive.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: String,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: Time,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

#[derive(Clone, Debug)]
pub enum Kind {
    File(Content),
    /// A file of holes and the given pieces, written as its pieces alone.
    Sparse {
        length: u64,
        pieces: Vec<(u64, Vec<u8>)>,
        form: SparseForm,
    },
    Directory,
    Symlink(String),
    HardLink(String),
    CharDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// GNU tar's two ways to write sparse files that are still in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SparseForm {
    /// PAX records, version 1.0: the map precedes the data.
    Pax,
    /// Type `S`: the map is in the header.
    Old,
}

impl Entry {
    fn new(path: &str, kind: Kind, mode: u32) -> Entry {
        Entry {
            path: path.to_owned(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Time(1_700_000_000, 0),
            xattrs: Vec::new(),
        }
    }

    pub fn directory(path: &str, mode: u32) -> Entry {
        Entry::new(path, Kind::Directory, mode)
    }

    pub fn file(path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Entry {
        Entry::new(path, Kind::File(Content::Bytes(content.into())), mode)
    }

    /// A copy of a file of this machine.
    pub fn copy(path: &str, mode: u32, from: PathBuf) -> Entry {
        Entry::new(path, Kind::File(Content::Copy(from)), mode)
    }

    pub fn generated(path: &str, mode: u32, content: Content) -> Entry {
        Entry::new(path, Kind::File(content), mode)
    }

    pub fn symlink(path: &str, target: &str) -> Entry {
        Entry::new(path, Kind::Symlink(target.to_owned()), 0o777)
    }

    /// `target` is the path of an earlier entry.
    pub fn hard_link(path: &str, target: &str) -> Entry {
        Entry::new(path, Kind::HardLink(target.to_owned()), 0o644)
    }

    pub fn special(path: &str, kind: Kind, mode: u32) -> Entry {
        Entry::new(path, kind, mode)
    }

    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Entry {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    #[must_use]
    pub fn mtime(mut self, seconds: u64, nanoseconds: u32) -> Entry {
        self.mtime = Time(seconds, nanoseconds);
        self
    }

    #[must_use]
    pub fn xattr(mut self, name: &str, value: impl Into<Vec<u8>>) -> Entry {
        self.xattrs.push((name.to_owned(), value.into()));
        self
    }
}

/// Writes entries one after the other; [`TarWriter::finish`] closes the archive.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
}

impl<W: Write> TarWriter<W> {
    pub fn new(out: W) -> TarWriter<W> {
        TarWriter { out }
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    pub fn entries(&mut self, entries: &[Entry]) -> io::Result<()> {
        entries.iter().try_for_each(|entry| self.entry(entry))
    }

    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let mut header = Header::of(entry);
        let mut records = pax_records(entry);
        match &entry.kind {
            Kind::File(content) => {
                header.size(content.len()?);
                self.head(header, &records)?;
                let written = content.write(&mut self.out)?;
                self.pad(written)
            }
            Kind::Sparse { length, pieces, form: SparseForm::Pax } => {
                records.push(("GNU.sparse.major".into(), b"1".to_vec()));
                records.push(("GNU.sparse.minor".into(), b"0".to_vec()));
                records.push(("GNU.sparse.name".into(), entry.path.clone().into_bytes()));
                records.push(("GNU.sparse.realsize".into(), length.to_string().into_bytes()));
                let map = sparse_map(*length, pieces);
                let data: u64 = pieces.iter().map(|piece| piece.1.len() as u64).sum();
                header.size(map.len() as u64 + data);
                header.name("GNUSparseFile.0/sparse");
                self.head(header, &records)?;
                self.out.write_all(&map)?;
                self.pieces(pieces)
            }
            Kind::Sparse { length, pieces, form: SparseForm::Old } => {
                header.size(pieces.iter().map(|piece| piece.1.len() as u64).sum());
                header.old_sparse(*length, pieces);
                self.head(header, &records)?;
                self.pieces(pieces)
            }
            _ => self.head(header, &records),
        }
    }

    fn pieces(&mut self, pieces: &[(u64, Vec<u8>)]) -> io::Result<()> {
        let mut written = 0;
        for (_, data) in pieces {
            self.out.write_all(data)?;
            written += data.len() as u64;
        }
        self.pad(written)
    }

    fn head(&mut self, header: Header, records: &[(String, Vec<u8>)]) -> io::Result<()> {
        if !records.is_empty() {
            let body: Vec<u8> = records.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            let mut extended = Header::empty();
            extended.name("PaxHeaders/entry");
            extended.octal(100, 8, 0o644);
            extended.size(body.len() as u64);
            extended.kind(b'x');
            self.out.write_all(&extended.sealed())?;
            self.out.write_all(&body)?;
            self.pad(body.len() as u64)?;
        }
        self.out.write_all(&header.sealed())
    }

    fn pad(&mut self, written: u64) -> io::Result<()> {
        let over = (written % BLOCK as u64) as usize;
        if over > 0 {
            self.out.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }
}

/// POSIX ustar header, which is also GNU's but for the sparse fields.
struct Header([u8; BLOCK]);

impl Header {
    fn empty() -> Header {
        let mut header = Header([0; BLOCK]);
        header.0[257..265].copy_from_slice(b"ustar\x0000");
        header.octal(108, 8, 0);
        header.octal(116, 8, 0);
        header.octal(136, 12, 0);
        header
    }

    fn of(entry: &Entry) -> Header {
        let mut header = Header::empty();
        let (kind, link, device) = match &entry.kind {
            Kind::File(_) => (b'0', None, None),
            Kind::Sparse { form: SparseForm::Pax, .. } => (b'0', None, None),
            Kind::Sparse { form: SparseForm::Old, .. } => (b'S', None, None),
            Kind::Directory => (b'5', None, None),
            Kind::Symlink(target) => (b'2', Some(target), None),
            Kind::HardLink(target) => (b'1', Some(target), None),
            Kind::CharDevice(major, minor) => (b'3', None, Some((*major, *minor))),
            Kind::BlockDevice(major, minor) => (b'4', None, Some((*major, *minor))),
            Kind::Fifo => (b'6', None, None),
        };
        header.name(&entry.path);
        header.kind(kind);
        header.octal(100, 8, u64::from(entry.mode));
        header.octal(108, 8, entry.uid.min(0o7_777_777));
        header.octal(116, 8, entry.gid.min(0o7_777_777));
        header.octal(136, 12, entry.mtime.0);
        header.size(0);
        if let Some(link) = link {
            header.text(157, 100, link);
        }
        if let Some((major, minor)) = device {
            header.octal(329, 8, u64::from(major));
            header.octal(337, 8, u64::from(minor));
        }
        header
    }

    fn kind(&mut self, kind: u8) {
        self.0[156] = kind;
    }

    fn name(&mut self, name: &str) {
        self.0[..100].fill(0);
        self.text(0, 100, name);
    }

    fn size(&mut self, size: u64) {
        self.octal(124, 12, size);
    }

    /// What does not fit is cut: a PAX record says it whole.
    fn text(&mut self, at: usize, width: usize, text: &str) {
        let text = &text.as_bytes()[..text.len().min(width)];
        self.0[at..at + text.len()].copy_from_slice(text);
    }

    fn octal(&mut self, at: usize, width: usize, value: u64) {
        let text = format!("{value:0digits$o}\0", digits = width - 1);
        self.0[at..at + width].copy_from_slice(text.as_bytes());
    }

    /// At most four pieces, as many as the header itself has room for.
    fn old_sparse(&mut self, length: u64, pieces: &[(u64, Vec<u8>)]) {
        assert!(pieces.len() <= 4, "an old sparse header holds four pieces");
        self.0[257..265].copy_from_slice(b"ustar  \0");
        self.0[345..500].fill(0);
        for (index, (offset, data)) in pieces.iter().enumerate() {
            self.octal(386 + index * 24, 12, *offset);
            self.octal(398 + index * 24, 12, data.len() as u64);
        }
        self.octal(483, 12, length);
    }

    fn sealed(mut self) -> [u8; BLOCK] {
        self.0[148..156].fill(b' ');
        let sum: u64 = self.0.iter().map(|byte| u64::from(*byte)).sum();
        self.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

fn pax_records(entry: &Entry) -> Vec<(String, Vec<u8>)> {
    let mut records = Vec::new();
    let mut record = |key: &str, value: &[u8]| records.push((key.to_owned(), value.to_vec()));
    if entry.path.len() > 100 || !entry.path.is_ascii() {
        record("path", entry.path.as_bytes());
    }
    if let Kind::Symlink(target) | Kind::HardLink(target) = &entry.kind
        && (target.len() > 100 || !target.is_ascii())
    {
        record("linkpath", target.as_bytes());
    }
    if entry.mtime.1 != 0 {
        record("mtime", format!("{}.{:09}", entry.mtime.0, entry.mtime.1).as_bytes());
    }
    for (key, value) in [("uid", entry.uid), ("gid", entry.gid)] {
        if value > 0o7_777_777 {
            record(key, value.to_string().as_bytes());
        }
    }
    for (name, value) in &entry.xattrs {
        record(&format!("SCHILY.xattr.{name}"), value);
    }
    records
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length += 1;
    }
    let mut record = format!("{length} {key}=").into_bytes();
    record.extend_from_slice(value);
    record.push(b'\n');
    record
}

fn sparse_map(length: u64, pieces: &[(u64, Vec<u8>)]) -> Vec<u8> {
    // As GNU tar does, a file that ends in a hole gets an empty last piece.
    let ends_in_hole = pieces.last().is_none_or(|(offset, data)| offset + (data.len() as u64) < length);
    let count = pieces.len() + usize::from(ends_in_hole);
    let mut map = format!("{count}\n");
    for (offset, data) in pieces {
        map.push_str(&format!("{offset}\n{}\n", data.len()));
    }
    if ends_in_hole {
        map.push_str(&format!("{length}\n0\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().div_ceil(BLOCK) * BLOCK, 0);
    map
}
