//! Which of the host's variables reach the code. Owns the allow-list: what programs need to find themselves and
//! their certificates, and nothing that may be a secret.

use std::ffi::{OsStr, OsString};

/// Variables that pass as they are; a name that ends in `*` stands for all that begin so.
const ALLOWED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TMPDIR",
    // Where version managers and tool chains keep themselves.
    "PYENV_ROOT",
    "PYENV_VERSION",
    "RBENV_ROOT",
    "NVM_DIR",
    "NODENV_ROOT",
    "ASDF_DIR",
    "ASDF_DATA_DIR",
    "RUSTUP_HOME",
    "CARGO_HOME",
    "GOROOT",
    "GOPATH",
    "JAVA_HOME",
    "LD_LIBRARY_PATH",
    "NIX_PATH",
    "NIX_PROFILES",
    // Certificates of the place, without which nothing can be installed.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "PIP_CERT",
];

/// Variables that hold an address, and pass unless a name or password is part of it.
const ADDRESSES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_TRUSTED_HOST",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "npm_config_registry",
];

/// The host's variables that pass: the allow-list and `more`, in the same notation.
pub(crate) fn inherited(more: &[String]) -> Vec<(OsString, OsString)> {
    let passing = std::env::vars_os().filter(|(name, value)| passes(name, value, more));
    passing
        .map(|(name, value)| if name == "TMPDIR" { (name, absolute(value)) } else { (name, value) })
        .collect()
}

/// Blocks run in another directory than this process.
fn absolute(folder: OsString) -> OsString {
    std::path::absolute(&folder).map_or(folder, OsString::from)
}

fn passes(name: &OsStr, value: &OsStr, more: &[String]) -> bool {
    // A name that is not text is nobody's setting.
    let Some(name) = name.to_str() else { return false };
    let allowed = ALLOWED.iter().any(|pattern| matches(pattern, name));
    let asked = more.iter().any(|pattern| matches(pattern, name));
    let address = ADDRESSES.iter().any(|known| known.eq_ignore_ascii_case(name));
    allowed || asked || (address && !value.as_encoded_bytes().contains(&b'@'))
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(name: &str, value: &str, more: &[&str]) -> bool {
        let more: Vec<String> = more.iter().map(|name| name.to_string()).collect();
        super::passes(OsStr::new(name), OsStr::new(value), &more)
    }

    #[test]
    fn a_secret_does_not_pass_unless_it_is_asked_for() {
        assert!(!passes("OPENAI_API_KEY", "sk", &[]));
        assert!(passes("OPENAI_API_KEY", "sk", &["OPENAI_API_KEY"]));
        assert!(passes("OPENAI_API_KEY", "sk", &["OPENAI_*"]));
        assert!(!passes("OPENAI_API_KEY", "sk", &["OPENAI"]));
        assert!(passes("LC_ALL", "C", &[]));
    }

    #[test]
    fn an_address_passes_unless_it_holds_a_password() {
        assert!(passes("https_proxy", "http://proxy:3128", &[]));
        assert!(!passes("https_proxy", "http://me:secret@proxy:3128", &[]));
        assert!(passes("https_proxy", "http://me:secret@proxy:3128", &["https_proxy"]));
    }
}
