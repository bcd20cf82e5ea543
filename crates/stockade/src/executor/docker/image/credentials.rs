//! The credentials for a registry, from the configuration of Docker's own command and its helper programs. A
//! registry may need none, so whatever can't be had is traced and counts as having none.

use std::{fs, io, path::Path, thread, time::Duration};

use bollard::{BollardRequest, Docker, auth::DockerCredentials};
use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use tokio::{sync::oneshot, time::timeout};

use super::reference::DOCKER_HUB;

/// How long a helper may take: it may have to ask the user to unlock a key ring.
const HELPER_TIMEOUT: Duration = Duration::from_secs(60);
/// The name of Docker Hub in the configuration, for historical reasons.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What `config.json` in `directory` and the helpers it names have for the registry.
pub(super) async fn find(registry: &str, directory: Option<&Path>) -> Option<DockerCredentials> {
    let path = directory?.join("config.json");
    let config = match fs::read(&path) {
        Ok(config) => config,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "no registry credentials: the file can't be read");
            return None;
        }
    };
    // A thread of its own, since a helper that hangs would hold up the end of a runtime's.
    let (sender, receiver) = oneshot::channel();
    let wanted = registry.to_owned();
    let asked = thread::Builder::new().name("registry credentials".to_owned()).spawn(move || {
        let _ = sender.send(look_up(&config, &wanted));
    });
    match (asked, timeout(HELPER_TIMEOUT, receiver).await) {
        (Ok(_), Ok(Ok(found))) => found,
        _ => {
            tracing::warn!(registry, "no registry credentials: the credential helper did not answer");
            None
        }
    }
}

fn look_up(config: &[u8], registry: &str) -> Option<DockerCredentials> {
    let keys = if registry == DOCKER_HUB { &[DOCKER_HUB_KEY, DOCKER_HUB] } else { &[registry][..] };
    keys.iter().find_map(|key| match get_credential_from_reader(config, key) {
        Ok(found) => Some(for_daemon(found, key)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => None,
        Err(error) => {
            // A helper that has nothing for the registry fails too.
            tracing::debug!(registry, %error, "no registry credentials");
            None
        }
    })
}

fn for_daemon(found: DockerCredential, server: &str) -> DockerCredentials {
    let serveraddress = Some(server.to_owned());
    match found {
        DockerCredential::IdentityToken(token) => {
            DockerCredentials { identitytoken: Some(token), serveraddress, ..DockerCredentials::default() }
        }
        DockerCredential::UsernamePassword(username, password) => DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress,
            ..DockerCredentials::default()
        },
    }
}

/// A client that sends credentials as daemons read them: in the alphabet of base64 that is made for URLs.
/// bollard takes the other one, and a daemon ignores what it can't read, so that some passwords would never
/// arrive.
pub(super) fn in_the_daemons_alphabet(docker: &Docker) -> Docker {
    docker.clone().with_request_modifier(|mut request: BollardRequest| {
        if let Some(header) = request.headers_mut().get_mut("X-Registry-Auth")
            && let Ok(text) = header.to_str()
            && let Ok(changed) = text.replace('+', "-").replace('/', "_").parse()
        {
            *header = changed;
        }
        request
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(config: &str, registry: &str) -> Option<String> {
        look_up(config.as_bytes(), registry)?.username
    }

    #[test]
    fn credentials_are_those_of_the_registry() {
        // bWU6c2VjcmV0 is me:secret.
        let config = r#"{"auths":{"localhost:5000":{"auth":"bWU6c2VjcmV0"}}}"#;
        let found = look_up(config.as_bytes(), "localhost:5000").unwrap();
        assert_eq!((found.username.as_deref(), found.password.as_deref()), (Some("me"), Some("secret")));
        assert_eq!(found.serveraddress.as_deref(), Some("localhost:5000"));
        assert_eq!(look_up(config.as_bytes(), "localhost:5001"), None);
    }

    #[test]
    fn docker_hub_is_found_by_any_of_its_names() {
        for name in ["https://index.docker.io/v1/", "index.docker.io", "docker.io"] {
            let config = format!(r#"{{"auths":{{"{name}":{{"auth":"bWU6c2VjcmV0"}}}}}}"#);
            assert_eq!(user(&config, DOCKER_HUB).as_deref(), Some("me"), "{name}");
        }
        let other = r#"{"auths":{"ghcr.io":{"auth":"bWU6c2VjcmV0"}}}"#;
        assert_eq!(user(other, DOCKER_HUB), None);
    }

    #[test]
    fn an_identity_token_takes_the_place_of_the_password() {
        let config = r#"{"auths":{"r.example":{"auth":"bWU6","identitytoken":"t"}}}"#;
        let found = look_up(config.as_bytes(), "r.example").unwrap();
        assert_eq!((found.identitytoken.as_deref(), found.username), (Some("t"), None));
    }

    #[test]
    fn a_helper_that_is_missing_counts_as_no_credentials() {
        assert_eq!(user(r#"{"credsStore":"stockade-nonexistent"}"#, DOCKER_HUB), None);
        assert_eq!(user(r#"{"credHelpers":{"r.example":"stockade-nonexistent"}}"#, "r.example"), None);
    }

    #[tokio::test]
    async fn a_configuration_that_is_missing_or_broken_counts_as_no_credentials() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(find(DOCKER_HUB, None).await, None);
        assert_eq!(find(DOCKER_HUB, Some(directory.path())).await, None);
        let path = directory.path().join("config.json");
        fs::write(&path, "{").unwrap();
        assert_eq!(find(DOCKER_HUB, Some(directory.path())).await, None);
        fs::write(&path, r#"{"auths":{"docker.io":{"username":"me","password":"x"}}}"#).unwrap();
        assert!(find(DOCKER_HUB, Some(directory.path())).await.is_some());
    }

    proptest! {
        #[test]
        fn any_configuration_is_understood_or_ignored(
            config in "(\\{\"auths\": ?\\{\"r.example\": ?(null|1|\\{\"(auth|identitytoken|username)\": ?(1|null|\"\\PC{0,12}\")\\})\\}\\}|\\PC*)",
        ) {
            let _ = look_up(config.as_bytes(), "r.example");
        }
    }
}
