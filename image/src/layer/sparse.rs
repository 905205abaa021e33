//! Where the data of a sparse file goes.

use super::fault::Fault;
use super::pax::decimal;

/// A stretch of data; what lies between is holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Most numbers of one map: half as many extents.
const MAX_NUMBERS: usize = 1 << 20;

pub(crate) fn check_count(numbers: usize) -> Result<(), Fault> {
    if numbers > MAX_NUMBERS {
        return Err(Fault::bad("sparse file with too many extents"));
    }
    Ok(())
}

/// Offsets and lengths in turn.
pub(crate) fn pairs(numbers: &[u64]) -> Result<Vec<Extent>, Fault> {
    check_count(numbers.len())?;
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Fault::bad("sparse map with an odd number of fields"));
    }
    Ok(pairs.iter().map(|&[offset, length]| Extent { offset, length }).collect())
}

/// Extents are in order, do not overlap, end within the file, and use up the member's data exactly.
pub(crate) fn check(extents: &[Extent], size: u64, data: u64) -> Result<(), Fault> {
    let mut end = 0;
    let mut total = 0u64;
    for extent in extents {
        let stop = extent.offset.checked_add(extent.length).filter(|&stop| stop <= size);
        if extent.offset < end || stop.is_none() {
            return Err(Fault::bad("sparse map out of order or beyond the file"));
        }
        end = stop.unwrap_or(end);
        total += extent.length;
    }
    if total != data || size > i64::MAX as u64 {
        return Err(Fault::bad("sparse map does not match the data"));
    }
    Ok(())
}

/// The map of PAX sparse 1.0 while it is read: a count, then two numbers per extent, each on its line.
#[derive(Default)]
pub(crate) struct LeadingMap {
    line: Vec<u8>,
    want: Option<usize>,
    numbers: Vec<u64>,
}

impl LeadingMap {
    /// Takes a block; the numbers once the last one is there. The rest of that block is padding.
    pub(crate) fn feed(&mut self, block: &[u8]) -> Result<Option<Vec<u64>>, Fault> {
        for &byte in block {
            if byte != b'\n' {
                self.line.push(byte);
                if self.line.len() > 20 {
                    return Err(Fault::bad("malformed sparse map"));
                }
                continue;
            }
            let value = decimal(&self.line)?;
            self.line.clear();
            match self.want {
                None => {
                    let count = usize::try_from(value).unwrap_or(usize::MAX).saturating_mul(2);
                    check_count(count)?;
                    self.want = Some(count);
                }
                Some(_) => self.numbers.push(value),
            }
            if self.want == Some(self.numbers.len()) {
                return Ok(Some(std::mem::take(&mut self.numbers)));
            }
        }
        Ok(None)
    }
}
