//! Names within a layer: relative, free of `.` and `..`, short enough for the kernel.

use super::fault::{Fault, show};

/// The kernel's PATH_MAX without the final NUL. Bounds the depth of what an archive can make us build.
pub(crate) const MAX_NAME_BYTES: usize = 4095;
const MAX_COMPONENT_BYTES: usize = 255;

/// A clean name; empty for the layer's root.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// Cleans a name as every peer does: a leading `/` and `.` mean the layer's root, `..` goes up. A name that
    /// climbs above the root is refused.
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, Fault> {
        let refuse = |why: &str| Fault::bad(format!("name {}: {why}", show(&raw[..raw.len().min(300)])));
        if raw.contains(&0) {
            return Err(refuse("holds a NUL byte"));
        }
        if raw.len() > MAX_NAME_BYTES {
            return Err(refuse("is too long"));
        }
        let mut components: Vec<&[u8]> = Vec::new();
        for component in raw.split(|&b| b == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    components.pop().ok_or_else(|| refuse("leads out of the layer"))?;
                }
                long if long.len() > MAX_COMPONENT_BYTES => return Err(refuse("is too long")),
                _ => components.push(component),
            }
        }
        Ok(Self(components.join(&b'/')))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Parent and last component; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        split(&self.0)
    }
}

/// Parent and last component of a clean name; `None` for the root.
pub(crate) fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.is_empty() {
        return None;
    }
    Some(match name.iter().rposition(|&b| b == b'/') {
        Some(at) => (&name[..at], &name[at + 1..]),
        None => (&name[..0], name),
    })
}

/// What a last component asks for (image-spec, layer.md, "Whiteouts").
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Mark<'a> {
    /// Nothing: an ordinary name.
    None,
    /// `.wh.<name>`: hide `<name>` of the layers below.
    Whiteout(&'a [u8]),
    /// `.wh..wh..opq`: hide all that the layers below have in this directory.
    Opaque,
    /// `.wh..wh.<other>`: AUFS's own bookkeeping, of no meaning here.
    Foreign,
}

impl<'a> Mark<'a> {
    pub(crate) fn of(base: &'a [u8]) -> Result<Self, Fault> {
        match base.strip_prefix(b".wh.") {
            None => Ok(Self::None),
            Some(b".wh..opq") => Ok(Self::Opaque),
            Some(other) if other.starts_with(b".wh.") => Ok(Self::Foreign),
            Some(b"" | b"." | b"..") => Err(Fault::bad(format!("whiteout {} names no file", show(base)))),
            Some(name) => Ok(Self::Whiteout(name)),
        }
    }
}

#[cfg(test)]
mod tests;
