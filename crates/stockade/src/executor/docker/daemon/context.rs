//! Docker contexts: the named places in the configuration of Docker's own command. Owns which one is chosen
//! and what its files say. The files are the user's, and may hold anything.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::{
    Surroundings,
    address::{Address, Tls},
};

/// A chosen context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) name: String,
    /// Where the choice was made, for messages.
    pub(super) chosen_by: String,
}

/// The part of `config.json` that chooses.
#[derive(Deserialize)]
struct Config {
    #[serde(default, rename = "currentContext")]
    current_context: Option<String>,
}

/// A context's `meta.json`.
#[derive(Deserialize)]
struct Meta {
    #[serde(default, rename = "Endpoints")]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default, rename = "Host")]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The context that was chosen. None is, and the usual sockets are meant, by default and by the name
/// `default`.
///
/// # Errors
/// The configuration's path, and why it can't be read.
pub(super) fn chosen(surroundings: &Surroundings) -> Result<Option<Context>, (PathBuf, String)> {
    let chosen = if let Some(name) = &surroundings.docker_context {
        Some(Context { name: name.clone(), chosen_by: "DOCKER_CONTEXT".to_owned() })
    } else if let Some(directory) = &surroundings.config_dir {
        let path = directory.join("config.json");
        let config: Option<Config> = read(&path).map_err(|why| (path.clone(), why))?;
        let name = config.and_then(|config| config.current_context);
        name.map(|name| Context { name, chosen_by: path.display().to_string() })
    } else {
        None
    };
    Ok(chosen.filter(|context| !matches!(context.name.as_str(), "" | "default")))
}

impl Context {
    /// Where its daemon is.
    ///
    /// # Errors
    /// Why that can't be told, a sentence without a subject.
    pub(super) fn address(&self, surroundings: &Surroundings) -> Result<Address, String> {
        let directory = surroundings.config_dir.as_deref().ok_or("can't be looked up without a HOME")?;
        // Docker names a context's files after its hash, so a name can hold no path.
        let id: String = Sha256::digest(&self.name).iter().map(|byte| format!("{byte:02x}")).collect();
        let path = directory.join("contexts/meta").join(&id).join("meta.json");
        let meta: Meta =
            read(&path)?.ok_or_else(|| format!("does not exist: {} is missing", path.display()))?;
        let Some(endpoint) = meta.endpoints.docker.filter(|endpoint| !endpoint.host.is_empty()) else {
            return Err("has no address of a Docker daemon".to_owned());
        };
        if endpoint.skip_tls_verify {
            return Err("is set to trust any certificate (SkipTLSVerify), which Stockade does not".to_owned());
        }
        let certificates = directory.join("contexts/tls").join(&id).join("docker");
        Address::parse(&endpoint.host, Tls { wanted: certificates.is_dir(), certificates: &certificates })
            .map_err(|why| format!("has the address {}, which {why}", endpoint.host))
    }
}

/// What a file of JSON says, nothing when it is missing.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|error| format!("can't be read: {error}"))?,
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| format!("is not what Docker writes: {error}"))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    /// A configuration directory with a `config.json`.
    pub(crate) fn configured(config: &str) -> (TempDir, Surroundings) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), config).unwrap();
        let surroundings =
            Surroundings { config_dir: Some(directory.path().to_owned()), ..Surroundings::default() };
        (directory, surroundings)
    }

    /// Adds a context as Docker saves it.
    pub(crate) fn add_context(directory: &Path, name: &str, meta: &str) {
        let id: String = Sha256::digest(name).iter().map(|byte| format!("{byte:02x}")).collect();
        let place = directory.join("contexts/meta").join(id);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("meta.json"), meta).unwrap();
    }

    /// The hash is Docker's, for `docker context create` made this directory.
    const ID_OF_REMOTE: &str = "b71199ebd070b36beab7317920c2c2f1d777df8d05e5527d8458fda57cb17a7a";

    fn address(config: &str, meta: &str) -> Result<Address, String> {
        let (directory, surroundings) = configured(config);
        add_context(directory.path(), "remote", meta);
        chosen(&surroundings).unwrap().expect("a context is chosen").address(&surroundings)
    }

    #[test]
    fn the_current_context_says_where_the_daemon_is() {
        let meta = r#"{"Name":"remote","Metadata":{},"Endpoints":{"docker":{"Host":"ssh://me@build"}}}"#;
        let found = address(r#"{"currentContext":"remote","auths":{}}"#, meta).unwrap();
        assert_eq!(found.to_string(), "ssh://me@build");
    }

    #[test]
    fn a_context_with_certificates_is_dialled_with_tls() {
        let (directory, surroundings) = configured(r#"{"currentContext":"remote"}"#);
        add_context(directory.path(), "remote", r#"{"Endpoints":{"docker":{"Host":"tcp://build"}}}"#);
        let context = chosen(&surroundings).unwrap().unwrap();
        assert!(matches!(context.address(&surroundings), Ok(Address::Tcp { .. })));
        let certificates = directory.path().join("contexts/tls").join(ID_OF_REMOTE).join("docker");
        fs::create_dir_all(&certificates).unwrap();
        let authority = "build:2376".to_owned();
        assert_eq!(context.address(&surroundings).unwrap(), Address::Tls { authority, certificates });
    }

    #[test]
    fn docker_context_comes_before_the_configuration() {
        let (_directory, mut surroundings) = configured(r#"{"currentContext":"remote"}"#);
        surroundings.docker_context = Some("other".to_owned());
        let context = chosen(&surroundings).unwrap().unwrap();
        assert_eq!((context.name.as_str(), context.chosen_by.as_str()), ("other", "DOCKER_CONTEXT"));
        surroundings.docker_context = Some("default".to_owned());
        assert_eq!(chosen(&surroundings).unwrap(), None);
    }

    #[test]
    fn no_configuration_chooses_no_context() {
        assert_eq!(chosen(&Surroundings::default()).unwrap(), None);
        for config in ["{}", r#"{"currentContext":""}"#, r#"{"currentContext":"default"}"#] {
            assert_eq!(chosen(&configured(config).1).unwrap(), None, "{config}");
        }
    }

    #[test]
    fn a_context_of_no_use_says_why() {
        let config = r#"{"currentContext":"remote"}"#;
        for (meta, why) in [
            ("{}", "has no address of a Docker daemon"),
            (
                r#"{"Endpoints":{"docker":{"Host":"tcp://a","SkipTLSVerify":true}}}"#,
                "is set to trust any certificate (SkipTLSVerify), which Stockade does not",
            ),
            (
                r#"{"Endpoints":{"docker":{"Host":"fd://"}}}"#,
                "has the address fd://, which is for the daemon's own use: give the socket's path, unix://…",
            ),
            ("[", "is not what Docker writes: EOF while parsing a list at line 1 column 1"),
        ] {
            assert_eq!(address(config, meta).unwrap_err(), why);
        }
        let (_directory, surroundings) = configured(config);
        let missing = chosen(&surroundings).unwrap().unwrap().address(&surroundings).unwrap_err();
        assert!(missing.starts_with("does not exist: "), "{missing}");
    }

    proptest! {
        #[test]
        fn any_configuration_is_understood_or_refused(
            config in prop_oneof![
                "\\PC{0,40}",
                "\\{\"currentContext\": ?(null|1|\\[\\]|\"[a-z./]*\"|\\{\\})\\}",
            ],
            meta in "(\\{\"Endpoints\": ?(null|1|\\{\"docker\": ?(null|\\[\\]|\\{\"Host\": ?(1|\"\\PC*\")\\})\\})\\}|\\PC*)",
        ) {
            let (directory, surroundings) = configured(&config);
            if let Ok(Some(context)) = chosen(&surroundings) {
                add_context(directory.path(), &context.name, &meta);
                let _ = context.address(&surroundings);
            }
        }
    }
}
