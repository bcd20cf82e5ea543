//! Why a pull failed. Daemons hand on what a registry or the network said, in words alone: owns which words mean
//! what. Words that are not known have no reason, and are shown as they are.

/// Why a pull failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    TooManyRequests,
    OtherPlatform,
    ShortName,
    NotFound,
    Denied,
    NoRegistry,
}

/// The words of Docker, Podman and registries. Each has a space or a colon and a space in it, so that no name
/// of an image, which they quote, can be taken for one. The first that is found decides.
const WORDS: [(&str, Reason); 45] = [
    ("toomanyrequests: ", Reason::TooManyRequests),
    ("too many requests", Reason::TooManyRequests),
    ("no matching manifest for", Reason::OtherPlatform),
    ("no image found in manifest list for", Reason::OtherPlatform),
    ("no image found in image index for", Reason::OtherPlatform),
    ("does not match the specified platform", Reason::OtherPlatform),
    ("short-name ", Reason::ShortName),
    ("short name ", Reason::ShortName),
    ("no such host", Reason::NoRegistry),
    ("server misbehaving", Reason::NoRegistry),
    ("name resolution", Reason::NoRegistry),
    ("i/o timeout", Reason::NoRegistry),
    ("handshake timeout", Reason::NoRegistry),
    ("deadline exceeded", Reason::NoRegistry),
    ("request canceled while waiting", Reason::NoRegistry),
    ("connection refused", Reason::NoRegistry),
    ("connection reset", Reason::NoRegistry),
    ("network is unreachable", Reason::NoRegistry),
    ("no route to host", Reason::NoRegistry),
    ("dial tcp", Reason::NoRegistry),
    ("proxyconnect tcp", Reason::NoRegistry),
    ("gave http response to https client", Reason::NoRegistry),
    ("x509: ", Reason::NoRegistry),
    ("tls: ", Reason::NoRegistry),
    ("502 bad gateway", Reason::NoRegistry),
    ("503 service unavailable", Reason::NoRegistry),
    (": eof", Reason::NoRegistry),
    ("manifest unknown", Reason::NotFound),
    ("name unknown", Reason::NotFound),
    ("repository name not known", Reason::NotFound),
    ("manifest for ", Reason::NotFound),
    ("404 (not found)", Reason::NotFound),
    ("404 not found", Reason::NotFound),
    (": not found", Reason::NotFound),
    ("pull access denied", Reason::Denied),
    ("access to the resource is denied", Reason::Denied),
    ("unauthorized: ", Reason::Denied),
    (": unauthorized", Reason::Denied),
    (": denied", Reason::Denied),
    ("401 unauthorized", Reason::Denied),
    ("403 forbidden", Reason::Denied),
    ("denied: ", Reason::Denied),
    ("authentication required", Reason::Denied),
    ("no basic auth credentials", Reason::Denied),
    ("invalid username/password", Reason::Denied),
];

impl Reason {
    pub(super) fn of(said: &str) -> Option<Self> {
        let said = format!(": {}", said.to_lowercase());
        WORDS.iter().find(|(words, _)| said.contains(words)).map(|(_, reason)| *reason)
    }
}
