//! Which manifest of an index is for a platform, in the order of preference that containerd has.

use super::manifest::media_type::{DOCKER_MANIFEST, MANIFEST};
use super::{Descriptor, Index, Platform};

impl Platform {
    /// Returns the platforms whose images run here, the best first: `linux/arm/v7` also runs v6 and v5, `linux/amd64`
    /// also runs 386, `linux/arm64` also runs 32-bit ARM.
    pub fn compatible(&self) -> Vec<Platform> {
        let own = self.normalised();
        let with = |architecture: &str, variant: String| Platform {
            architecture: architecture.to_owned(),
            os: own.os.clone(),
            variant,
        };
        let version = own.variant.strip_prefix('v').and_then(|v| v.parse::<u8>().ok()).unwrap_or(0);
        let mut all = vec![own.clone()];
        match own.architecture.as_str() {
            "amd64" => {
                all.extend((1..version).rev().map(|v| with("amd64", format!("v{v}"))));
                all.push(with("386", String::new()));
            }
            "arm" => all.extend((5..version).rev().map(|v| with("arm", format!("v{v}")))),
            "arm64" => {
                all.extend(arm64_below(&own.variant).into_iter().map(|v| with("arm64", v)));
                all.extend((5..=8).rev().map(|v| with("arm", format!("v{v}"))));
            }
            _ => {}
        }
        all.iter().map(Platform::normalised).collect()
    }
}

/// The variants of arm64 that run on a machine of the given one, without itself: v9.x contains v8.(x+5).
fn arm64_below(variant: &str) -> Vec<String> {
    let name = |major: u8, minor: u8| if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") };
    let text = variant.strip_prefix('v').unwrap_or("8");
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    let minor: u8 = minor.parse().ok().filter(|m| *m <= 9).unwrap_or(0);
    let mut below = Vec::new();
    if major == "9" {
        below.extend((0..minor).rev().map(|m| name(9, m)));
        below.extend((0..=(minor + 5).min(9)).rev().map(|m| name(8, m)));
    } else {
        below.extend((0..minor).rev().map(|m| name(8, m)));
    }
    below
}

impl Index {
    /// Returns the manifest that is best for a platform.
    ///
    /// One without a platform is taken when it is the only one in the index: then nothing else can be meant.
    pub fn choose(&self, platform: &Platform) -> Option<&Descriptor> {
        let wanted = platform.compatible();
        let best = self.manifests.iter().enumerate().filter_map(|(position, descriptor)| {
            let own = descriptor.platform.as_ref()?.normalised();
            Some((wanted.iter().position(|w| *w == own)?, position, descriptor))
        });
        best.min_by_key(|(rank, position, _)| (*rank, *position)).map(|(_, _, descriptor)| descriptor).or_else(|| {
            match self.manifests.as_slice() {
                [only] if only.platform.is_none() => Some(only),
                _ => None,
            }
        })
    }

    /// Returns the platforms that the index has, as text; attestations (`unknown/unknown`) are left out.
    pub fn platforms(&self) -> Vec<String> {
        let is_manifest = |d: &&Descriptor| [MANIFEST, DOCKER_MANIFEST, ""].contains(&d.media_type.as_str());
        let named = self.manifests.iter().filter(is_manifest).filter_map(|d| d.platform.as_ref());
        named.filter(|p| p.os != "unknown").map(Platform::to_string).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Digest, media_type};
    use super::*;
    use rstest::rstest;

    fn index(platforms: &[&str]) -> Index {
        let manifests = platforms
            .iter()
            .map(|text| {
                let mut d = Descriptor::of(media_type::MANIFEST, text.as_bytes());
                let parts: Vec<&str> = text.split('/').collect();
                d.platform = parts.get(1).map(|architecture| Platform {
                    os: parts[0].into(),
                    architecture: (*architecture).into(),
                    variant: parts.get(2).copied().unwrap_or("").into(),
                });
                d
            })
            .collect();
        let media_type = media_type::INDEX.into();
        Index { schema_version: 2, media_type, manifests, annotations: Default::default(), extra: Default::default() }
    }

    #[rstest]
    #[case("linux/amd64", &["linux/arm64", "linux/amd64"], Some("linux/amd64"))]
    #[case("linux/amd64", &["linux/386"], Some("linux/386"))]
    #[case("linux/amd64", &["linux/amd64/v2"], None)]
    #[case("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"], Some("linux/amd64/v2"))]
    #[case("linux/arm64", &["linux/arm64/v8"], Some("linux/arm64/v8"))]
    #[case("linux/arm64/v8", &["linux/arm64"], Some("linux/arm64"))]
    #[case("linux/arm64", &["linux/arm/v7", "linux/arm/v5"], Some("linux/arm/v7"))]
    #[case("linux/arm64/v9", &["linux/arm64/v8.5", "linux/arm64/v8"], Some("linux/arm64/v8.5"))]
    #[case("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6"], Some("linux/arm/v6"))]
    #[case("linux/arm", &["linux/arm"], Some("linux/arm"))]
    #[case("linux/arm/v6", &["linux/arm/v7"], None)]
    #[case("linux/s390x", &["windows/s390x", "linux/amd64"], None)]
    #[case("linux/amd64", &["unknown/unknown", "linux/amd64"], Some("linux/amd64"))]
    #[case("linux/amd64", &["linux/x86_64"], Some("linux/x86_64"))]
    #[case("linux/amd64", &["none"], Some("none"))]
    #[case("linux/amd64", &["none", "none"], None)]
    fn the_best_manifest_is_chosen(#[case] platform: &str, #[case] there: &[&str], #[case] best: Option<&str>) {
        let chosen = index(there).choose(&platform.parse().unwrap()).map(|d| d.digest);
        assert_eq!(chosen, best.map(|text| Digest::of(text.as_bytes())));
    }

    #[test]
    fn attestations_are_not_listed_as_platforms() {
        assert_eq!(index(&["linux/arm/v6", "unknown/unknown", "none"]).platforms(), ["linux/arm/v6"]);
    }
}
