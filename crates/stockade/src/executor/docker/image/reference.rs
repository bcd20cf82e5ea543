//! The name of an image, by the grammar of Docker's references. Owns what is a name and which registry it is
//! pulled from. A name becomes part of a URL at the daemon, so nothing that is not by the grammar gets there.

use std::fmt;

/// The registry of names that mention none.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// A name of an image, or an image's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// With the tag `latest` where the name has neither tag nor digest: a daemon would pull all tags.
    text: String,
    /// `None` for an id, which is in no registry.
    registry: Option<String>,
}

impl Reference {
    /// # Errors
    /// What is wrong with it, a fragment that follows the name.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(id) = text.strip_prefix("sha256:")
            && id.len() == 64
            && is_hex(id)
        {
            return Ok(Self { text: text.to_owned(), registry: None });
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match named.rsplit_once(':') {
            // A colon before a slash is that of a registry's port.
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (named, None),
        };
        let (registry, path) = registry_and_path(name);
        check_path(path)?;
        if !registry.is_none_or(is_registry) {
            return Err("begins with what is no registry's name");
        }
        if !tag.is_none_or(is_tag) {
            return Err("has a tag of other characters than letters, digits and `_.-`, or of more than 128");
        }
        if !digest.is_none_or(is_digest) {
            return Err("has a digest that is not like sha256: and 64 hexadecimal digits");
        }
        let text = if tag.is_none() && digest.is_none() { format!("{text}:latest") } else { text.to_owned() };
        Ok(Self { text, registry: Some(registry.unwrap_or(DOCKER_HUB).to_owned()) })
    }

    /// Where it is pulled from.
    pub(super) fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// The first part of a name is a registry when it looks like a host.
fn registry_and_path(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, path)) if first == "localhost" || first.contains(['.', ':']) => match first {
            "index.docker.io" | "registry-1.docker.io" => (Some(DOCKER_HUB), path),
            _ => (Some(first), path),
        },
        _ => (None, name),
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("is empty");
    }
    if path.len() > 255 {
        return Err("is longer than 255 characters");
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("has uppercase letters");
    }
    let is_component = |component: &str| {
        let words = component.split(['.', '_', '-']).filter(|word| !word.is_empty());
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends = [component.bytes().next(), component.bytes().next_back()];
        ends.into_iter().all(|end| end.is_some_and(alphanumeric))
            && words.flat_map(str::bytes).all(alphanumeric)
            && !["..", "___", "._", "_.", ".-", "-.", "_-", "-_"].iter().any(|pair| component.contains(pair))
    };
    if path.split('/').all(is_component) { Ok(()) } else { Err("is not a name that an image can have") }
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Some(inside) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return inside.parse::<std::net::Ipv6Addr>().is_ok();
    }
    host.split('.').all(|label| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(plain)
    })
}

fn is_tag(tag: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&tag.len()) && !tag.starts_with(['.', '-']) && tag.bytes().all(plain)
}

fn is_digest(digest: &str) -> bool {
    let lengths = [("sha256:", 64), ("sha384:", 96), ("sha512:", 128)];
    lengths.iter().any(|(name, length)| {
        digest.strip_prefix(name).is_some_and(|digits| digits.len() == *length && is_hex(digits))
    })
}

fn is_hex(digits: &str) -> bool {
    digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (String, Option<String>) {
        let reference = Reference::parse(text).unwrap_or_else(|why| panic!("{text} {why}"));
        (reference.text, reference.registry)
    }

    #[test]
    fn a_name_says_its_registry_and_gets_the_tag_latest() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, whole, registry) in [
            ("python", "python:latest", "docker.io"),
            ("python:3-slim", "python:3-slim", "docker.io"),
            ("me/tool__x", "me/tool__x:latest", "docker.io"),
            ("docker.io/library/python", "docker.io/library/python:latest", "docker.io"),
            ("index.docker.io/library/python", "index.docker.io/library/python:latest", "docker.io"),
            ("localhost/x", "localhost/x:latest", "localhost"),
            ("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000"),
            ("localhost:5000/a/b:1.0_a-B", "localhost:5000/a/b:1.0_a-B", "localhost:5000"),
            ("[::1]:5000/x:1", "[::1]:5000/x:1", "[::1]:5000"),
            ("ghcr.io/Me-is.not/x".to_lowercase().as_str(), "ghcr.io/me-is.not/x:latest", "ghcr.io"),
            (&format!("quay.io/x@{digest}"), &format!("quay.io/x@{digest}"), "quay.io"),
            (&format!("x:1@{digest}"), &format!("x:1@{digest}"), "docker.io"),
        ] {
            assert_eq!(parsed(text), (whole.to_owned(), Some(registry.to_owned())));
        }
    }

    #[test]
    fn an_id_has_no_registry() {
        let id = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(parsed(&id), (id, None));
    }

    #[test]
    fn what_no_image_is_called_is_refused_with_the_reason() {
        let misnamed = "is not a name that an image can have";
        let tag = "has a tag of other characters than letters, digits and `_.-`, or of more than 128";
        for (text, why) in [
            ("", "is empty"),
            ("Python", "has uppercase letters"),
            ("a b", misnamed),
            ("a/../b", misnamed),
            ("../x", "begins with what is no registry's name"),
            ("/x", misnamed),
            ("x/", misnamed),
            ("x?y", misnamed),
            ("x#y", misnamed),
            ("x%2fy", misnamed),
            ("-x", misnamed),
            ("x:", tag),
            ("x:.1", tag),
            ("x:1?", tag),
            ("x@sha256:12", "has a digest that is not like sha256: and 64 hexadecimal digits"),
            ("a_b.c:x/y", "begins with what is no registry's name"),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err(), why, "{text}");
        }
        assert_eq!(Reference::parse(&"x".repeat(256)).unwrap_err(), "is longer than 255 characters");
        assert!(Reference::parse(&"x".repeat(255)).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_a_name_or_refused(text in "\\PC*") {
            let _ = Reference::parse(&text);
        }

        #[test]
        fn a_name_is_safe_in_a_url_and_parses_to_itself(text in "[a-zA-Z0-9./:@_\\[\\]%?#-]{0,20}") {
            if let Ok(reference) = Reference::parse(&text) {
                let path = format!("/images/{reference}/json");
                prop_assert!(!path.contains(['?', '#', '%', '\\']) && !path.contains("//"), "{}", path);
                prop_assert!(!path.split('/').any(|part| part.chars().all(|letter| letter == '.') && !part.is_empty()));
                prop_assert_eq!(Reference::parse(reference.as_str()), Ok(reference));
            }
        }
    }
}
