//! A fuzz target as a property test: its corpus, and what a random generator makes of it. Not a crate: each crate's tests include
//! this file, since what they fuzz is theirs alone.

#[path = "random.rs"]
mod random;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use random::Random;

/// Longer inputs make no test better, and every test slower.
const MOST_BYTES: usize = 16 << 10;

/// Runs `target` on every file of `fuzz/corpus/<name>`, and on `count` inputs made of them. `LINKSPAN_FUZZ_SEED` repeats the run
/// of a failure, which prints it.
///
/// # Panics
/// If the target does, or has no corpus.
pub(crate) fn replay(name: &'static str, target: fn(&[u8]), count: usize) {
    let seeds = corpus(name);
    let seed = std::env::var("LINKSPAN_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| RandomState::new().hash_one(name));
    for (at, input) in seeds.iter().enumerate() {
        let _told = Told { name, seed, what: format!("file {at} of the corpus"), input };
        target(input);
    }
    let mut random = Random(seed);
    for at in 0..count {
        let input = random.input(&seeds);
        let _told = Told { name, seed, what: format!("input {at}"), input: &input };
        target(&input);
    }
}

/// In the order of their names, so that a seed gives the same inputs everywhere.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("fuzz/corpus").join(name));
    let dir = dir.into_iter().find(|dir| dir.is_dir()).unwrap_or_else(|| panic!("no fuzz/corpus/{name}"));
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "fuzz/corpus/{name} is empty");
    files.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// What is being tried, told when it fails.
struct Told<'a> {
    name: &'static str,
    seed: u64,
    what: String,
    input: &'a [u8],
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (name, seed, what) = (self.name, self.seed, &self.what);
            eprintln!(
                "fuzz target {name}, {what}, LINKSPAN_FUZZ_SEED={seed}: b\"{}\"",
                self.input.escape_ascii()
            );
        }
    }
}

impl Random {
    /// Less than `end`; 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// One of the seeds after one to eight changes.
    fn input(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut input = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(8) {
            let other = &seeds[self.below(seeds.len())];
            self.change(&mut input, other);
        }
        input.truncate(MOST_BYTES);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        /// What parsers stumble over, in the middle of text as of numbers.
        const PIECES: &[&[u8]] = &[
            b"\0",
            b"\n",
            b"\"",
            b"/",
            b"../",
            b"..",
            b":",
            b",",
            b"=",
            b"-1",
            b"0",
            b"null",
            b"[]",
            b"{}",
            b"true",
            b"\xff",
            b"4294967295",
            b"9223372036854775807",
            b"18446744073709551615",
            b"18446744073709551616",
            b"1e999",
            b"\x7f\xff\xff\xff",
            b"\xff\xff\xff\xff",
            b"\x80\0\0\0",
            b"\xc3\xa9",
            b"\xe2\x82\xac",
            b"%2f",
            b"[[[[[[[[",
        ];
        let at = self.below(input.len() + 1);
        let length = self.below((input.len() - at).min(64) + 1);
        match self.below(8) {
            0 | 1 if at < input.len() => input[at] ^= 1 << self.below(8),
            2 if at < input.len() => input[at] = self.next() as u8,
            3 => drop(input.drain(at..at + length)),
            4 => {
                let piece = input[at..at + length].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            5 => {
                let from = self.below(other.len() + 1);
                let piece = &other[from..from + self.below((other.len() - from).min(256) + 1)];
                input.splice(at..at, piece.iter().copied());
            }
            6 => {
                let piece = PIECES[self.below(PIECES.len())];
                let over = length.min(piece.len());
                input.splice(at..at + over, piece.iter().copied());
            }
            7 if self.below(4) == 0 => input.truncate(at),
            // A number becomes another one of about its length.
            _ => {
                let digits = input[at..].iter().position(u8::is_ascii_digit);
                if let Some(digit) = digits {
                    input[at + digit] = b'0' + self.below(10) as u8;
                }
            }
        }
    }
}
