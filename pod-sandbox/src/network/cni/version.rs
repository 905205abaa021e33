//! Versions of the CNI specification.

use std::fmt;
use std::str::FromStr;

/// The versions that this client speaks, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V030,
    V031,
    V040,
    V100,
    V110,
}

impl Version {
    pub(crate) const ALL: [Self; 5] = [Self::V030, Self::V031, Self::V040, Self::V100, Self::V110];
    /// The newest, in which we ask plugins for their versions.
    pub(crate) const CURRENT: Self = Self::V110;

    /// CHECK exists, and DEL gets the result of ADD.
    pub(crate) fn has_check(self) -> bool {
        self >= Self::V040
    }

    /// GC and STATUS exist.
    pub(crate) fn has_gc_and_status(self) -> bool {
        self >= Self::V110
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V030 => "0.3.0",
            Self::V031 => "0.3.1",
            Self::V040 => "0.4.0",
            Self::V100 => "1.0.0",
            Self::V110 => "1.1.0",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(|| {
            format!("cniVersion {text:?} is not supported (0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0 are)")
        })
    }
}

/// The newest of `wanted` that every plugin speaks. CNI specification 1.1, "Version considerations".
pub(crate) fn negotiate(wanted: &[Version], plugins: &[Vec<Version>]) -> Option<Version> {
    let spoken = |version: &Version| plugins.iter().all(|versions| versions.contains(version));
    wanted.iter().copied().filter(spoken).max()
}
