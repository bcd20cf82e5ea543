//! Platforms and architectures, which Docker, kernels and Rust name each in their own way. Owns their names.

use bollard::models::ImageInspect;

pub(super) const LINUX: &str = "linux";

/// As the daemon names it.
pub(super) fn architecture(found: &ImageInspect) -> String {
    in_docker(found.architecture.as_deref().unwrap_or_default()).to_owned()
}

/// A platform as Docker writes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) text: String,
    /// As Docker names it.
    pub(super) architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// `linux/arm64`, `linux/arm/v7` or `arm64`. `None` for what is no platform, or not one of Linux.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<_> = text.split('/').collect();
        let (architecture, variant) = match parts[..] {
            [LINUX, architecture] => (architecture, None),
            [LINUX, architecture, variant] => (architecture, Some(variant)),
            [architecture] if architecture != LINUX => (architecture, None),
            _ => return None,
        };
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if !is_word(architecture) || !variant.is_none_or(is_word) {
            return None;
        }
        let architecture = in_docker(architecture).to_owned();
        let text = [LINUX, &architecture].into_iter().chain(variant).collect::<Vec<_>>().join("/");
        Some(Self { text, architecture, variant: variant.map(str::to_owned) })
    }

    /// Images often don't say their variant, and 64-bit ARM has one only.
    pub(super) fn is_that_of(&self, found: &ImageInspect) -> bool {
        let variant = found.variant.as_deref().filter(|variant| !variant.is_empty());
        found.os.as_deref().unwrap_or(LINUX) == LINUX
            && architecture(found) == self.architecture
            && self.variant.as_deref().zip(variant).is_none_or(|(wanted, found)| wanted == found)
    }
}

/// The names of architectures that Docker and Rust don't share.
const ARCHITECTURES: [(&str, &str); 7] = [
    ("amd64", "x86_64"),
    ("arm64", "aarch64"),
    ("386", "x86"),
    ("ppc64le", "powerpc64"),
    ("mips64le", "mips64"),
    ("loong64", "loongarch64"),
    ("mipsle", "mips"),
];

pub(super) fn in_rust(architecture: &str) -> &str {
    let found = ARCHITECTURES.iter().find(|(docker, _)| *docker == architecture);
    found.map_or(architecture, |(_, rust)| rust)
}

/// Takes the names that kernels use, too, as Docker does.
fn in_docker(architecture: &str) -> &str {
    match architecture {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "i386" => "386",
        other => other,
    }
}
