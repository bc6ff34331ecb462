//! Platforms, `os/architecture[/variant]`, normalised as containerd does.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An operating system and a CPU architecture in Go's words.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// E.g. `amd64`.
    pub architecture: String,
    /// E.g. `linux`.
    pub os: String,
    /// E.g. `v7`; empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A text that is no platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid platform, expected `os/architecture[/variant]`: `{0}`")]
pub struct PlatformError(pub String);

impl Platform {
    /// Returns the platform of this machine.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            other => other,
        };
        let (architecture, variant) = normalise(architecture, "");
        Platform { architecture, os: "linux".into(), variant }
    }

    /// Returns the platform under its usual name: `arm64/v8` is `arm64`, `x86_64` is `amd64`, `arm` is `arm/v7`.
    pub fn normalised(&self) -> Platform {
        let os = match self.os.to_ascii_lowercase() {
            os if os == "macos" => "darwin".to_owned(),
            os => os,
        };
        let (architecture, variant) =
            normalise(&self.architecture.to_ascii_lowercase(), &self.variant.to_ascii_lowercase());
        Platform { architecture, os, variant }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Platform, PlatformError> {
        let parts: Vec<String> = text.to_ascii_lowercase().split('/').map(str::to_owned).collect();
        let bad = || PlatformError(text.to_owned());
        if parts.len() > 3
            || parts.iter().any(|p| {
                p.is_empty()
                    || p.starts_with('.')
                    || !p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            })
        {
            return Err(bad());
        }
        let os = match parts[0].as_str() {
            "macos" => "darwin",
            other => other,
        };
        let host = Platform::host();
        let (os, architecture, variant) = match &parts[1..] {
            [architecture, variant] => (os, architecture.as_str(), variant.as_str()),
            [architecture] => (os, architecture.as_str(), ""),
            // A lone word is a system or an architecture; the other one is this machine's, as in containerd.
            _ if KNOWN_SYSTEMS.contains(&os) => (os, host.architecture.as_str(), host.variant.as_str()),
            _ if KNOWN_ARCHITECTURES.contains(&os) => (host.os.as_str(), os, ""),
            _ => return Err(bad()),
        };
        let (architecture, variant) = normalise(architecture, variant);
        Ok(Platform { architecture, os: os.to_owned(), variant })
    }
}

/// Systems that a platform of one word may name (those of Go, as in containerd).
const KNOWN_SYSTEMS: [&str; 14] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
];

/// Architectures that a platform of one word may name.
const KNOWN_ARCHITECTURES: [&str; 18] = [
    "386", "i386", "amd64", "x86_64", "x86-64", "arm", "armhf", "armel", "arm64", "aarch64", "loong64", "mips",
    "mips64le", "ppc64le", "riscv64", "s390x", "sparc64", "wasm",
];

fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
        ("i386", v) => ("386", v),
        ("aarch64" | "arm64", "" | "8" | "v8") => ("arm64", ""),
        ("aarch64" | "arm64", v) => ("arm64", v),
        ("armhf" | "arm", "" | "7") => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("linux/amd64", "linux/amd64")]
    #[case("Linux/x86_64", "linux/amd64")]
    #[case("linux/x86-64/v1", "linux/amd64")]
    #[case("linux/amd64/v2", "linux/amd64/v2")]
    #[case("linux/i386", "linux/386")]
    #[case("linux/aarch64", "linux/arm64")]
    #[case("linux/arm64/v8", "linux/arm64")]
    #[case("linux/arm64/v9", "linux/arm64/v9")]
    #[case("linux/arm", "linux/arm/v7")]
    #[case("linux/armhf", "linux/arm/v7")]
    #[case("linux/armel", "linux/arm/v6")]
    #[case("linux/arm/6", "linux/arm/v6")]
    #[case("macos/arm64", "darwin/arm64")]
    fn platforms_are_normalised(#[case] text: &str, #[case] normal: &str) {
        assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal);
    }

    #[test]
    fn a_lone_word_is_completed_by_this_machine() {
        let host = Platform::host();
        let lone = |text: &str| text.parse::<Platform>().unwrap();
        assert_eq!((lone("linux").os, lone("linux").architecture), ("linux".into(), host.architecture.clone()));
        assert_eq!(lone("armel").to_string(), format!("{}/arm/v6", host.os));
    }

    #[rstest]
    #[case("")]
    #[case("local")]
    #[case("linux/")]
    #[case("linux/arm/v7/x")]
    #[case("linux/../x")]
    #[case("linux/a b")]
    fn malformed_platforms_are_refused(#[case] text: &str) {
        assert_eq!(text.parse::<Platform>(), Err(PlatformError(text.into())));
    }
}
