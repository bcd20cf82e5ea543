//! What is decided without a daemon, and pulls through a real one from a registry of the tests' own. The
//! latter need a daemon on this machine, whose loopback the registry listens on: `STOCKADE_TEST_DOCKER` names
//! its address.

mod registry;

use std::{
    env, fs,
    io::{self, Write},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bollard::query_parameters::RemoveImageOptions;
use proptest::prelude::*;
use registry::Registry;

use super::{super::daemon, *};

#[test]
fn what_daemons_say_is_understood() {
    use Reason::*;
    for (said, reason) in [
        // Docker.
        (
            "pull access denied for nope, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
            Some(Denied),
        ),
        ("manifest for python:99 not found: manifest unknown: manifest unknown", Some(NotFound)),
        ("manifest unknown: manifest unknown", Some(NotFound)),
        (
            "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io: no such host",
            Some(NoRegistry),
        ),
        (
            "Get \"https://registry-1.docker.io/v2/\": dial tcp: lookup registry-1.docker.io on 10.0.0.2:53: read udp 10.0.0.3:38914->10.0.0.2:53: i/o timeout",
            Some(NoRegistry),
        ),
        (
            "Get \"https://registry-1.docker.io/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
            Some(NoRegistry),
        ),
        ("Get \"https://r.example/v2/\": x509: certificate signed by unknown authority", Some(NoRegistry)),
        (
            "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
            Some(NoRegistry),
        ),
        (
            "Get \"https://r.example:5000/v2/\": http: server gave HTTP response to HTTPS client",
            Some(NoRegistry),
        ),
        ("Get \"https://ghcr.io/v2/me/x/manifests/1\": unauthorized", Some(Denied)),
        ("unauthorized", Some(Denied)),
        ("Head \"https://ghcr.io/v2/me/x/manifests/1\": unauthorized: authentication required", Some(Denied)),
        ("Head \"http://127.0.0.1:5000/v2/x/manifests/1\": no basic auth credentials", Some(Denied)),
        ("unauthorized: incorrect username or password", Some(Denied)),
        ("toomanyrequests: You have reached your pull rate limit.", Some(TooManyRequests)),
        ("no matching manifest for linux/s390x in the manifest list entries", Some(OtherPlatform)),
        (
            "image with reference x:1 was found but does not match the specified platform: wanted linux/arm64, actual: linux/amd64",
            Some(OtherPlatform),
        ),
        ("failed to register layer: write /usr/lib/x: no space left on device", None),
        // Podman.
        (
            "short-name \"python:3-slim\" did not resolve to an alias and no unqualified-search registries are defined in \"/etc/containers/registries.conf\"",
            Some(ShortName),
        ),
        (
            "initializing source docker://python:99: reading manifest 99 in docker.io/library/python: manifest unknown: manifest unknown",
            Some(NotFound),
        ),
        (
            "initializing source docker://nope:latest: reading manifest latest in docker.io/library/nope: requested access to the resource is denied",
            Some(Denied),
        ),
        (
            "initializing source docker://r.example/x:1: pinging container registry r.example: Get \"https://r.example/v2/\": dial tcp 127.0.0.1:443: connect: connection refused",
            Some(NoRegistry),
        ),
        (
            "initializing source docker://r.example/x:1: unable to retrieve auth token: invalid username/password: unauthorized: authentication required",
            Some(Denied),
        ),
        (
            "choosing an image from manifest list docker://x:1: no image found in manifest list for architecture s390x, variant \"\", OS linux",
            Some(OtherPlatform),
        ),
    ] {
        assert_eq!(Reason::of(said), reason, "{said}");
    }
}

proptest! {
    #[test]
    fn no_name_of_an_image_is_taken_for_a_reason(name in "[a-z0-9./:_-]{0,30}(eof|x509|denied|unauthorized|dial)?") {
        if let Ok(reference) = Reference::parse(&name) {
            prop_assert_eq!(Reason::of(&format!("bad layer of \"{reference}\"")), None);
        }
    }

    #[test]
    fn any_platform_is_understood_or_refused(text in "\\PC*") {
        if let Some(platform) = Platform::parse(&text) {
            prop_assert_eq!(Platform::parse(&platform.text), Some(platform));
        }
    }
}

#[test]
fn pull_is_one_of_three_words() {
    for pull in [Pull::Missing, Pull::Always, Pull::Never] {
        assert_eq!(pull.to_string().parse(), Ok(pull));
    }
    let error = "sometimes".parse::<Pull>().unwrap_err();
    assert_eq!(error.to_string(), "`sometimes` is none of missing, always and never");
    assert_eq!(Pull::default(), Pull::Missing);
}

fn inspected(os: &str, architecture: &str, variant: Option<&str>) -> ImageInspect {
    ImageInspect {
        id: Some("sha256:1".to_owned()),
        os: Some(os.to_owned()),
        architecture: Some(architecture.to_owned()),
        variant: variant.map(str::to_owned),
        ..ImageInspect::default()
    }
}

#[test]
fn architectures_are_named_as_rust_does() {
    let wanted = Wanted::new("x", None).unwrap();
    for (docker, rust) in [("amd64", "x86_64"), ("arm64", "aarch64"), ("arm", "arm"), ("s390x", "s390x")] {
        let image = wanted.accept(inspected("linux", docker, None), false).unwrap();
        assert_eq!(image.architecture, rust);
    }
}

#[test]
fn an_image_suits_its_own_platform_only() {
    let accepts =
        |platform: &str, found| Wanted::new("x", Some(platform)).unwrap().accept(found, false).is_ok();
    assert!(accepts("linux/amd64", inspected("linux", "amd64", None)));
    assert!(accepts("linux/x86_64", inspected("linux", "amd64", None)));
    assert!(accepts("arm64", inspected("linux", "arm64", Some("v8"))));
    assert!(accepts("linux/arm64/v8", inspected("linux", "arm64", None)));
    assert!(accepts("linux/arm/v7", inspected("linux", "arm", Some("v7"))));
    assert!(!accepts("linux/arm/v6", inspected("linux", "arm", Some("v7"))));
    assert!(!accepts("linux/arm64", inspected("linux", "amd64", None)));
    let windows = Wanted::new("x", None).unwrap().accept(inspected("windows", "amd64", None), false);
    assert_eq!(
        windows.unwrap_err().to_string(),
        "get the image x: the daemon has it for windows/amd64, not for linux"
    );
    for platform in ["", "linux", "windows/amd64", "linux/amd64/v1/x", "linux/&"] {
        assert!(matches!(Wanted::new("x", Some(platform)), Err(ImageError::Platform { .. })), "{platform}");
    }
}

#[test]
fn what_was_pulled_into_a_store_of_several_platforms_is_there_for_the_one_asked_for() {
    let wanted = Wanted::new("x", Some("linux/arm64")).unwrap();
    let mut found = inspected("linux", "amd64", None);
    assert!(wanted.accept(found.clone(), true).is_err());
    found.descriptor = Some(bollard::models::OciDescriptor::default());
    assert_eq!(wanted.accept(found, true).unwrap().architecture, "aarch64");
}

#[test]
fn a_refusal_says_how_to_log_in() {
    let denied = |registry: &str, with_credentials| {
        let (image, registry, said) = ("x".to_owned(), registry.to_owned(), "no".to_owned());
        ImageError::Denied { image, registry, with_credentials, said }.hint().unwrap()
    };
    assert_eq!(
        denied("docker.io", false),
        "check the image's name; if it is a private image: `docker login`"
    );
    assert_eq!(
        denied("r.example", true),
        "check the image's name, and whether the credentials are still valid: `docker login r.example`"
    );
}

/// The daemon that the tests may use. `None` where none is named, and the test is then skipped, or fails
/// where `STOCKADE_TEST_REQUIRE` asks for `docker`.
async fn docker() -> Option<Docker> {
    let Some(address) = env::var("STOCKADE_TEST_DOCKER").ok().filter(|address| !address.is_empty()) else {
        let why = "STOCKADE_TEST_DOCKER names no daemon";
        let required = env::var("STOCKADE_TEST_REQUIRE").unwrap_or_default();
        let required = required.split(',').map(str::trim).any(|word| word == "docker" || word == "all");
        assert!(!required, "STOCKADE_TEST_REQUIRE asks for docker: {why}");
        let _ = writeln!(io::stderr(), "skipped: a pull needs docker: {why}");
        return None;
    };
    Some(daemon::connect(Some(&address)).await.expect("the daemon answers").docker)
}

async fn ensure(docker: &Docker, image: &str, pull: Pull) -> Result<Image, ImageError> {
    ensure_with(docker, image, pull, None, None).await
}

async fn ensure_with(
    docker: &Docker,
    image: &str,
    pull: Pull,
    platform: Option<&str>,
    config_dir: Option<&Path>,
) -> Result<Image, ImageError> {
    Wanted::new(image, platform)?.ensure(docker, pull, None, config_dir).await
}

async fn remove(docker: &Docker, image: &str) {
    docker.remove_image(image, None::<RemoveImageOptions>, None).await.expect("the image is removed");
}

#[tokio::test]
async fn a_missing_image_is_pulled_once_and_its_progress_told() {
    let Some(docker) = docker().await else { return };
    let registry = Registry::start(None);
    let image = registry.image("pulled-once");
    let reports = Mutex::new(Vec::new());
    let report = |progress| reports.lock().unwrap().push(progress);
    let wanted = Wanted::new(&image, None).unwrap();
    let first = wanted.ensure(&docker, Pull::Missing, Some(&report), None).await.unwrap();
    assert_eq!(first.architecture, env::consts::ARCH);
    let last = reports.into_inner().unwrap().pop().expect("progress was told");
    // Podman counts the image's configuration too.
    assert!(last.layers >= 1 && last.layers_done == last.layers, "{last:?}");
    assert_eq!(last.bytes_done, last.bytes_total, "{last:?}");

    let requests = registry.requests();
    assert_eq!(ensure(&docker, &image, Pull::Missing).await.unwrap(), first);
    assert_eq!(ensure(&docker, &image, Pull::Never).await.unwrap(), first);
    assert_eq!(ensure(&docker, &first.id, Pull::Always).await.unwrap(), first);
    assert_eq!(registry.requests(), requests);
    assert_eq!(ensure(&docker, &image, Pull::Always).await.unwrap(), first);
    assert!(registry.requests() > requests);
    remove(&docker, &image).await;
}

#[tokio::test]
async fn an_image_that_is_never_pulled_must_be_there() {
    let Some(docker) = docker().await else { return };
    let registry = Registry::start(None);
    let error = ensure(&docker, &registry.image("never"), Pull::Never).await.unwrap_err();
    assert!(matches!(error, ImageError::NotPulled { .. }), "{error}");
    let id = format!("sha256:{}", "0".repeat(64));
    let error = ensure(&docker, &id, Pull::Always).await.unwrap_err();
    assert!(matches!(error, ImageError::UnknownId { .. }), "{error}");
    assert_eq!(registry.requests(), 0);
}

#[tokio::test]
async fn an_unknown_image_is_not_found() {
    let Some(docker) = docker().await else { return };
    let registry = Registry::start(None);
    let error = ensure(&docker, &registry.image("unknown"), Pull::Missing).await.unwrap_err();
    assert!(matches!(error, ImageError::NotFound { .. }), "{error}");
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_named() {
    let Some(docker) = docker().await else { return };
    let error = ensure(&docker, "127.0.0.1:1/x:1", Pull::Missing).await.unwrap_err();
    assert!(
        matches!(&error, ImageError::NoRegistry { registry, .. } if registry == "127.0.0.1:1"),
        "{error}"
    );
}

/// bollard's own alphabet would not let some of these arrive.
#[tokio::test]
async fn credentials_of_dockers_configuration_open_a_registry() {
    let Some(docker) = docker().await else { return };
    static CASES: AtomicUsize = AtomicUsize::new(0);
    for password in ["secret", "?", ">>~~??", "a?", "aa~"] {
        let registry = Registry::start(Some(("me", password)));
        let image = registry.image(&format!("pulled-once-{}", CASES.fetch_add(1, Ordering::Relaxed)));
        let config = tempfile::tempdir().unwrap();
        let login = serde_json::json!({ "username": "me", "password": password });
        let text = serde_json::json!({ "auths": { registry.name(): login } }).to_string();
        fs::write(config.path().join("config.json"), text).unwrap();

        let denied = ensure(&docker, &image, Pull::Missing).await.unwrap_err();
        assert!(matches!(denied, ImageError::Denied { with_credentials: false, .. }), "{denied}");
        let pulled = ensure_with(&docker, &image, Pull::Missing, None, Some(config.path())).await;
        pulled.unwrap_or_else(|error| panic!("{password}: {error}"));
        remove(&docker, &image).await;
    }
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_the_hint_says_so() {
    let Some(docker) = docker().await else { return };
    let registry = Registry::start(Some(("me", "secret")));
    let config = tempfile::tempdir().unwrap();
    let text = format!(r#"{{"auths":{{"{}":{{"username":"me","password":"wrong"}}}}}}"#, registry.name());
    fs::write(config.path().join("config.json"), text).unwrap();
    let image = registry.image("pulled-once");
    let error = ensure_with(&docker, &image, Pull::Missing, None, Some(config.path())).await.unwrap_err();
    assert!(matches!(error, ImageError::Denied { with_credentials: true, .. }), "{error}");
    assert!(error.hint().unwrap().ends_with(&format!("`docker login {}`", registry.name())));
}

#[tokio::test]
async fn an_image_of_another_platform_is_refused() {
    let Some(docker) = docker().await else { return };
    let registry = Registry::start(None);
    let image = registry.image("pulled-once");
    ensure(&docker, &image, Pull::Missing).await.unwrap();
    for pull in [Pull::Missing, Pull::Never] {
        let error = ensure_with(&docker, &image, pull, Some("linux/s390x"), None).await.unwrap_err();
        assert!(matches!(error, ImageError::OtherPlatform { .. }), "{error}");
    }
    let own = format!("linux/{}", env::consts::ARCH);
    ensure_with(&docker, &image, Pull::Never, Some(&own), None).await.unwrap();
    remove(&docker, &image).await;
}
