//! Tar as a stream: members in order, each with its name, attributes and extents.
//!
//! The tar crate lays out the header's fields; framing and extended headers are ours, so that a hostile
//! archive cannot make us hold more than a bounded header in memory. Where tar implementations differ, Go's
//! archive/tar decides, because nearly every image is written and checked by it.

use std::io::Read;

use tar::{GnuExtSparseHeader, Header};

use super::fault::{Fault, show};
use super::pax::{Pax, Time};
use super::sparse::{self, Extent};

const BLOCK: usize = 512;

/// Longest PAX header or GNU long name; Go's archive/tar has the same limit.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// One member, before its data is read.
#[derive(Debug)]
pub(crate) struct Member {
    /// As the archive has it; nothing about it is checked yet.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: MemberKind,
    /// Permission bits with set-user-ID, set-group-ID and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: Time,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    /// The data that follows fills the extents; the rest up to `size` is holes.
    File {
        size: u64,
        extents: Vec<Extent>,
    },
    Directory,
    Symlink {
        target: Vec<u8>,
    },
    HardLink {
        target: Vec<u8>,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// Reads members from a tar stream.
pub(crate) struct Archive<R> {
    source: R,
    /// Data of the present member that was not read yet.
    remaining: u64,
    /// From the end of that data to the next block.
    padding: u64,
}

/// Extended headers seen before the member they describe.
#[derive(Default)]
struct Extensions {
    pax: Pax,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, remaining: 0, padding: 0 }
    }

    /// The next member, or `None` at the end of the archive. Unread data of the present one is skipped.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>, Fault> {
        let mut extensions = Extensions::default();
        let mut extended = false;
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                if extended {
                    return Err(Fault::bad("archive ends after an extended header"));
                }
                return Ok(None);
            };
            match header.as_old().linkflag[0] {
                b'x' => extensions.pax = Pax::parse(&self.extension(&header)?)?,
                b'L' => extensions.long_name = Some(text(&self.extension(&header)?)),
                b'K' => extensions.long_link = Some(text(&self.extension(&header)?)),
                b'g' => {
                    let size = number(&header.as_old().size)?;
                    self.begin_data(size)?;
                    continue;
                }
                _ => return self.member(&header, extensions).map(Some),
            }
            extended = true;
        }
    }

    /// Reads data of the present member; 0 at its end.
    pub(crate) fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let want = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let got = self.source.read(&mut buffer[..want]).map_err(Fault::Source)?;
        if got == 0 {
            return Err(Fault::bad("archive ends within a member"));
        }
        self.remaining -= got as u64;
        Ok(got)
    }

    /// Reads what follows the archive, so that the digest covers it.
    pub(crate) fn drain(mut self) -> Result<(), Fault> {
        std::io::copy(&mut self.source, &mut std::io::sink()).map_err(Fault::Source)?;
        Ok(())
    }

    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Member, Fault> {
        let Extensions { pax, long_name, long_link } = extensions;
        let old = header.as_old();
        let path = long_name.or_else(|| pax.path.clone()).unwrap_or_else(|| header.path_bytes().into_owned());
        let header_link = || header.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let link = long_link.or_else(|| pax.link.clone()).unwrap_or_else(header_link);
        let mut member = Member {
            path,
            kind: MemberKind::Directory,
            mode: u32::try_from(number(&old.mode)? & 0o7777).unwrap_or(0),
            uid: pax.uid.map_or_else(|| number(&old.uid), Ok)?,
            gid: pax.gid.map_or_else(|| number(&old.gid), Ok)?,
            mtime: match pax.mtime {
                Some(time) => time,
                None => Time { seconds: signed_number(&old.mtime)?, nanoseconds: 0 },
            },
            atime: pax.atime,
            xattrs: Vec::new(),
        };
        member.kind = match old.linkflag[0] {
            // Before POSIX a directory was a file whose name ends in a slash.
            0 if member.path.ends_with(b"/") => MemberKind::Directory,
            0 | b'0' | b'7' | b'S' => self.file(header, &pax, &mut member.path)?,
            b'1' => MemberKind::HardLink { target: link },
            b'2' => MemberKind::Symlink { target: link },
            b'3' => device(header, |major, minor| MemberKind::CharDevice { major, minor })?,
            b'4' => device(header, |major, minor| MemberKind::BlockDevice { major, minor })?,
            b'5' => MemberKind::Directory,
            b'6' => MemberKind::Fifo,
            other => {
                let name = show(&member.path);
                return Err(Fault::bad(format!("{name}: unknown member type {:?}", char::from(other))));
            }
        };
        member.xattrs = pax.xattrs;
        Ok(member)
    }

    /// Only files have data: a size in any other header is ignored.
    fn file(&mut self, header: &Header, pax: &Pax, path: &mut Vec<u8>) -> Result<MemberKind, Fault> {
        let size = pax.size.map_or_else(|| number(&header.as_old().size), Ok)?;
        let mut extents = vec![Extent { offset: 0, length: size }];
        let mut real_size = size;
        if header.as_old().linkflag[0] == b'S' {
            (real_size, extents) = self.old_gnu_map(header)?;
        }
        self.begin_data(size)?;
        let records = &pax.sparse;
        if records.major.is_some() || records.numbers.is_some() {
            real_size = records.real_size.ok_or_else(|| Fault::bad("sparse file without its size"))?;
            if let Some(name) = &records.name {
                path.clone_from(name);
            }
            let numbers = match (&records.numbers, records.major) {
                (Some(numbers), None | Some(0)) => numbers.clone(),
                (_, Some(1)) if records.minor == Some(0) => self.leading_map()?,
                _ => return Err(Fault::bad("unknown version of sparse file")),
            };
            extents = sparse::pairs(&numbers)?;
        }
        sparse::check(&extents, real_size, self.remaining)?;
        Ok(MemberKind::File { size: real_size, extents })
    }

    /// The old GNU format: up to four extents in the header, more in blocks that follow it.
    fn old_gnu_map(&mut self, header: &Header) -> Result<(u64, Vec<Extent>), Fault> {
        let gnu = header.as_gnu().ok_or_else(|| Fault::bad("sparse file in an archive that is not GNU's"))?;
        let mut numbers = Vec::new();
        let mut extended = gnu.isextended[0] != 0;
        for slot in &gnu.sparse {
            old_gnu_slot(&slot.offset, &slot.numbytes, &mut numbers)?;
        }
        while extended {
            let mut block = GnuExtSparseHeader::new();
            self.source.read_exact(block.as_mut_bytes()).map_err(Fault::Source)?;
            for slot in &block.sparse {
                old_gnu_slot(&slot.offset, &slot.numbytes, &mut numbers)?;
            }
            extended = block.isextended[0] != 0;
            sparse::check_count(numbers.len())?;
        }
        Ok((number(&gnu.realsize)?, sparse::pairs(&numbers)?))
    }

    /// PAX sparse 1.0: the map stands in front of the data, decimal lines padded to a block.
    fn leading_map(&mut self) -> Result<Vec<u64>, Fault> {
        let mut map = sparse::LeadingMap::default();
        loop {
            let mut block = [0; BLOCK];
            let mut filled = 0;
            while filled < BLOCK {
                match self.read_data(&mut block[filled..])? {
                    0 => return Err(Fault::bad("sparse map ends early")),
                    got => filled += got,
                }
            }
            if let Some(numbers) = map.feed(&block)? {
                return Ok(numbers);
            }
        }
    }

    fn begin_data(&mut self, size: u64) -> Result<(), Fault> {
        if size > i64::MAX as u64 {
            return Err(Fault::bad("member size out of range"));
        }
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip(&mut self) -> Result<(), Fault> {
        let left = self.remaining + self.padding;
        let skipped =
            std::io::copy(&mut (&mut self.source).take(left), &mut std::io::sink()).map_err(Fault::Source)?;
        // Some writers leave out the padding of the last member.
        if skipped < self.remaining {
            return Err(Fault::bad("archive ends within a member"));
        }
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    /// The next header, or `None` at the end mark or the end of the stream.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let mut header = Header::new_old();
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut header.as_mut_bytes()[filled..]).map_err(Fault::Source)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(Fault::bad("archive ends within a header")),
                got => filled += got,
            }
        }
        if header.as_bytes().iter().all(|&b| b == 0) {
            return Ok(None);
        }
        check_sum(&header)?;
        Ok(Some(header))
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Fault> {
        let size = number(&header.as_old().size)?;
        if size > MAX_EXTENSION_BYTES {
            return Err(Fault::bad(format!("extended header of {size} bytes")));
        }
        self.begin_data(size)?;
        let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
        let mut filled = 0;
        while filled < data.len() {
            filled += self.read_data(&mut data[filled..])?;
        }
        Ok(data)
    }
}

fn old_gnu_slot(offset: &[u8], length: &[u8], numbers: &mut Vec<u64>) -> Result<(), Fault> {
    if offset[0] != 0 && length[0] != 0 {
        numbers.push(number(offset)?);
        numbers.push(number(length)?);
    }
    Ok(())
}

fn device(header: &Header, make: fn(u32, u32) -> MemberKind) -> Result<MemberKind, Fault> {
    let fields = header.as_ustar().map(|ustar| (ustar.dev_major, ustar.dev_minor));
    let fields = fields.or_else(|| header.as_gnu().map(|gnu| (gnu.dev_major, gnu.dev_minor)));
    let (major, minor) = fields.ok_or_else(|| Fault::bad("device in an archive without device numbers"))?;
    let narrow =
        |field: [u8; 8]| u32::try_from(number(&field)?).map_err(|_| Fault::bad("device number out of range"));
    Ok(make(narrow(major)?, narrow(minor)?))
}

/// Old tars summed signed bytes.
fn check_sum(header: &Header) -> Result<(), Fault> {
    let bytes = header.as_bytes();
    let field = 148..156;
    let byte = |(i, &b): (usize, &u8)| if field.contains(&i) { b' ' } else { b };
    let unsigned: u64 = bytes.iter().enumerate().map(byte).map(u64::from).sum();
    let signed: i64 = bytes.iter().enumerate().map(byte).map(|b| i64::from(b.cast_signed())).sum();
    let stated = number(&header.as_old().cksum)?;
    if stated != unsigned && i64::try_from(stated) != Ok(signed) {
        return Err(Fault::bad("tar header checksum does not match"));
    }
    Ok(())
}

/// Up to the first NUL.
fn text(data: &[u8]) -> Vec<u8> {
    data.split(|&b| b == 0).next().unwrap_or_default().to_owned()
}

fn number(field: &[u8]) -> Result<u64, Fault> {
    u64::try_from(signed_number(field)?).map_err(|_| Fault::bad("negative number in a tar header"))
}

/// Octal text padded with blanks and NULs, or base-256 with the top bit set (GNU).
fn signed_number(field: &[u8]) -> Result<i64, Fault> {
    let bad = || Fault::bad(format!("{} is not a number in a tar header", show(field)));
    if field[0] & 0x80 != 0 {
        let negative = field[0] & 0x40 != 0;
        let first = if negative { field[0] } else { field[0] & 0x7f };
        let start = i128::from(first.cast_signed());
        let value =
            field[1..].iter().try_fold(start, |value, &b| value.checked_mul(256)?.checked_add(b.into()));
        return value.and_then(|value| i64::try_from(value).ok()).ok_or_else(bad);
    }
    let blank = |b: &u8| matches!(b, b' ' | 0);
    let start = field.iter().position(|b| !blank(b)).unwrap_or(field.len());
    let digits = field[start..].split(blank).next().unwrap_or_default();
    digits.iter().try_fold(0i64, |value, &b| match b {
        b'0'..=b'7' => value.checked_mul(8).and_then(|v| v.checked_add(i64::from(b - b'0'))).ok_or_else(bad),
        _ => Err(bad()),
    })
}
