//! Platforms of index entries, and which of them this machine runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::null_is_default;

/// `os/architecture[/variant]` in Go's words (image-spec, image-index.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// The machine we run on, its CPU level included.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "x86" => "386",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        let variant = match architecture {
            "amd64" => amd64_level(),
            "arm64" => "v8",
            "arm" => "v7",
            _ => "",
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// Nothing is said about the platform.
    pub fn is_blank(&self) -> bool {
        self.os.is_empty() && self.architecture.is_empty()
    }

    /// How well `offered` suits this host: 0 is exact, higher is an older variant, `None` does not run.
    ///
    /// A variant runs on every newer one of the same architecture: `arm/v6` on `arm/v7`, `amd64/v2` on a
    /// `v3` CPU. Missing variants mean `amd64/v1`, `arm64/v8` and `arm/v7`, as in containerd. 32-bit ARM is
    /// not offered to 64-bit hosts, as many of their CPUs cannot run it.
    pub fn rank(&self, offered: &Self) -> Option<u32> {
        let (own, offered) = (self.normalised(), offered.normalised());
        if own.os != offered.os || own.architecture != offered.architecture {
            return None;
        }
        match (own.level(), offered.level()) {
            (Some(own), Some(offered)) => own.checked_sub(offered),
            _ => (own.variant == offered.variant).then_some(0),
        }
    }

    /// Other names for the same thing, and the variant that a missing one stands for.
    fn normalised(&self) -> Self {
        let (architecture, implied) = match self.architecture.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" | "amd64" => ("amd64".to_owned(), "v1"),
            "i386" | "386" => ("386".to_owned(), ""),
            "aarch64" | "arm64" => ("arm64".to_owned(), "v8"),
            "armhf" => ("arm".to_owned(), "v7"),
            "armel" => ("arm".to_owned(), "v6"),
            "arm" => ("arm".to_owned(), "v7"),
            other => (other.to_owned(), ""),
        };
        let variant = match self.variant.as_str() {
            "" => implied.to_owned(),
            number if number.bytes().all(|b| b.is_ascii_digit()) => format!("v{number}"),
            other => other.to_ascii_lowercase(),
        };
        Self { os: self.os.to_ascii_lowercase(), architecture, variant }
    }

    /// `v8.2` is 82, `v8` is 80.
    fn level(&self) -> Option<u32> {
        let number = self.variant.strip_prefix('v')?;
        let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
        major.parse::<u32>().ok()?.checked_mul(10)?.checked_add(minor.parse::<u32>().ok()?.min(9))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

/// The x86-64 micro-architecture level (psABI) of this CPU.
#[cfg(target_arch = "x86_64")]
fn amd64_level() -> &'static str {
    use std::arch::is_x86_feature_detected as has;
    let v2 = has!("sse3") && has!("ssse3") && has!("sse4.1") && has!("sse4.2") && has!("popcnt");
    let v3 =
        v2 && has!("avx2") && has!("bmi1") && has!("bmi2") && has!("fma") && has!("f16c") && has!("lzcnt");
    let v4 =
        v3 && has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v4, v3, v2) {
        (true, ..) => "v4",
        (_, true, _) => "v3",
        (_, _, true) => "v2",
        _ => "v1",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn amd64_level() -> &'static str {
    "v1"
}
