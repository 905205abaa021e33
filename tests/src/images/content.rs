//! What files of an image hold: given bytes, a file of this machine, or made-up data of any length.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Vec<u8>),
    Copy(PathBuf),
    /// Incompressible, as media and archives are.
    Noise {
        seed: u64,
        length: u64,
    },
    /// Compresses about as programs and text do.
    Words {
        seed: u64,
        length: u64,
    },
}

impl Content {
    pub fn len(&self) -> io::Result<u64> {
        Ok(match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Copy(path) => path.metadata()?.len(),
            Content::Noise { length, .. } | Content::Words { length, .. } => *length,
        })
    }

    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Returns the number of bytes written.
    pub fn write(&self, out: &mut impl Write) -> io::Result<u64> {
        match self {
            Content::Bytes(bytes) => out.write_all(bytes).map(|()| bytes.len() as u64),
            Content::Copy(path) => io::copy(&mut File::open(path)?, out),
            Content::Noise { seed, length } => fill(*length, out, noise(*seed)),
            Content::Words { seed, length } => fill(*length, out, words(*seed)),
        }
    }
}

fn fill(length: u64, out: &mut impl Write, mut more: impl FnMut(&mut Vec<u8>)) -> io::Result<u64> {
    let mut left = length;
    let mut buffer = Vec::with_capacity(1 << 16);
    while left > 0 {
        buffer.clear();
        while buffer.len() < 1 << 16 {
            more(&mut buffer);
        }
        let part = left.min(buffer.len() as u64);
        out.write_all(&buffer[..part as usize])?;
        left -= part;
    }
    Ok(length)
}

/// Marsaglia's xorshift: the same numbers on every machine.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

fn noise(seed: u64) -> impl FnMut(&mut Vec<u8>) {
    let mut next = numbers(seed);
    move |buffer| buffer.extend_from_slice(&next().to_le_bytes())
}

fn words(seed: u64) -> impl FnMut(&mut Vec<u8>) {
    const WORDS: [&str; 16] = [
        "sandbox",
        "container",
        "the",
        "image",
        "of",
        "layer",
        "runtime",
        "is",
        "mount",
        "a",
        "network",
        "to",
        "pod",
        "and",
        "namespace",
        "cgroup",
    ];
    let mut next = numbers(seed);
    move |buffer| {
        let number = next();
        for shift in [0, 4, 8, 12] {
            buffer.extend_from_slice(WORDS[((number >> shift) & 15) as usize].as_bytes());
            buffer.push(b' ');
        }
        // Some digits keep it from compressing too well.
        buffer.extend_from_slice(&number.to_be_bytes()[..3]);
        buffer.push(b'\n');
    }
}
