//! Signals by number and by the names that CRI, images and users give them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Linux signal number, 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signal(i32);

/// A name or number that is no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no signal {0:?}")]
pub struct BadSignal(pub String);

const MAX: i32 = 64;
/// As glibc and CRI count: the kernel's first two real-time signals are the C library's own.
const RTMIN: i32 = 34;

const NAMES: [(&str, i32); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    pub const KILL: Self = Self(9);
    pub const TERM: Self = Self(15);

    /// The number that `kill(2)` takes.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// CRI's name without the enum's prefix: `SIGTERM`, `SIGRTMINPLUS3`, `SIGRTMAXMINUS1`.
    #[must_use]
    pub fn cri_name(self) -> String {
        if let Some((name, _)) = NAMES.iter().find(|(_, number)| *number == self.0) {
            return format!("SIG{name}");
        }
        match self.0 {
            RTMIN => "SIGRTMIN".to_owned(),
            MAX => "SIGRTMAX".to_owned(),
            number if number <= RTMIN + 15 => format!("SIGRTMINPLUS{}", number - RTMIN),
            number => format!("SIGRTMAXMINUS{}", MAX - number),
        }
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::TERM
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cri_name())
    }
}

/// Numbers, `SIGTERM`, `TERM`, `RTMIN+3` (images), `SIGNAL_SIGRTMINPLUS3` (CRI); any case.
impl FromStr for Signal {
    type Err = BadSignal;

    fn from_str(text: &str) -> Result<Self, BadSignal> {
        let bad = || BadSignal(text.to_owned());
        if let Ok(number) = text.parse::<i32>() {
            return if (1..=MAX).contains(&number) { Ok(Self(number)) } else { Err(bad()) };
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIGNAL_").unwrap_or(&upper);
        let name = name.strip_prefix("SIG").unwrap_or(name);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        let number = if let Some(rest) = name.strip_prefix("RTMIN") {
            RTMIN + offset(rest, "PLUS", "+").ok_or_else(bad)?
        } else if let Some(rest) = name.strip_prefix("RTMAX") {
            MAX - offset(rest, "MINUS", "-").ok_or_else(bad)?
        } else {
            return Err(bad());
        };
        if (RTMIN..=MAX).contains(&number) { Ok(Self(number)) } else { Err(bad()) }
    }
}

fn offset(rest: &str, word: &str, sign: &str) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix(word).or_else(|| rest.strip_prefix(sign))?;
    digits.parse().ok().filter(|number| (0..=MAX).contains(number))
}
