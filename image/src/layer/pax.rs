//! PAX extended headers (POSIX pax, "pax Extended Header").
//!
//! Parsed here and not by the tar crate: it splits records at newlines, which breaks binary values such as
//! `SCHILY.xattr.security.capability`, and it reads a header of any size into memory.

use super::fault::Fault;

/// What one extended header says about the member that follows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: SparseRecords,
}

/// GNU's sparse records in any of their three versions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SparseRecords {
    pub(crate) major: Option<u64>,
    pub(crate) minor: Option<u64>,
    pub(crate) name: Option<Vec<u8>>,
    /// `GNU.sparse.realsize` (1.0) or `GNU.sparse.size` (0.x).
    pub(crate) real_size: Option<u64>,
    /// Offsets and lengths in turn: `GNU.sparse.map` (0.1) or offset/numbytes records (0.0).
    pub(crate) numbers: Option<Vec<u64>>,
}

/// A point in time as `utimensat` wants it: nanoseconds count forward also before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Pax {
    /// Parses all records: `<length> <key>=<value>\n`, the length counting itself.
    pub(crate) fn parse(mut data: &[u8]) -> Result<Self, Fault> {
        let mut pax = Self::default();
        while !data.is_empty() {
            let malformed = || Fault::bad("malformed PAX header");
            let space = data.iter().take(20).position(|&b| b == b' ').ok_or_else(malformed)?;
            let length = usize::try_from(decimal(&data[..space])?).map_err(|_| malformed())?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(malformed());
            }
            let record = &data[space + 1..length - 1];
            let equals = record.iter().position(|&b| b == b'=').ok_or_else(malformed)?;
            pax.take(&record[..equals], &record[equals + 1..])?;
            data = &data[length..];
        }
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.retain(|(other, _)| other != name);
            self.xattrs.push((name.to_owned(), value.to_owned()));
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        // An empty value withdraws the record: the plain header's field counts.
        if value.is_empty() {
            return Ok(());
        }
        match key {
            b"path" => self.path = Some(value.to_owned()),
            b"linkpath" => self.link = Some(value.to_owned()),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"atime" => self.atime = Some(time(value)?),
            _ => {}
        }
        Ok(())
    }
}

impl SparseRecords {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = Some(value.to_owned()),
            b"realsize" | b"size" => self.real_size = Some(decimal(value)?),
            b"map" => {
                let numbers: Result<Vec<u64>, Fault> = value.split(|&b| b == b',').map(decimal).collect();
                self.numbers = Some(if value.is_empty() { Vec::new() } else { numbers? });
            }
            b"offset" | b"numbytes" => self.numbers.get_or_insert_default().push(decimal(value)?),
            b"numblocks" => {
                self.numbers.get_or_insert_default();
            }
            _ => {}
        }
        Ok(())
    }
}

pub(crate) fn decimal(text: &[u8]) -> Result<u64, Fault> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(text).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    number.ok_or_else(|| Fault::bad(format!("{:?} is not a number", String::from_utf8_lossy(text))))
}

/// `[-]seconds[.fraction]`; digits after the ninth are dropped.
fn time(text: &[u8]) -> Result<Time, Fault> {
    let (negative, rest) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = rest.iter().position(|&b| b == b'.');
    let (whole, fraction) = point.map_or((rest, &rest[..0]), |at| (&rest[..at], &rest[at + 1..]));
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(Fault::bad("malformed PAX time"));
    }
    let seconds = i64::try_from(decimal(whole)?).map_err(|_| Fault::bad("PAX time out of range"))?;
    let digit = |i: usize| fraction.get(i).map_or(0, |b| u32::from(b - b'0'));
    let nanoseconds = (0..9).fold(0, |sum, i| sum * 10 + digit(i));
    Ok(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds: 0 },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests;
