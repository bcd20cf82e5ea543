//! The engine that the tests use and what it shows: containers, by the docker command. Owns the variables that name
//! the daemon and the images; `cargo xtask test` sets them.

use std::process::{Command, Stdio};

use stockade::{DockerCommandLineCodeExecutor, DockerCommandLineCodeExecutorBuilder, Session};

use crate::support::{eventually, need};

/// Where the daemon is, for tests that go on only with one; `None` when the test is to be skipped.
pub(crate) fn daemon() -> Option<String> {
    named("STOCKADE_TEST_DOCKER")
}

/// A Python image, by the name that the daemon has for it.
pub(crate) fn image() -> String {
    named("STOCKADE_TEST_IMAGE").unwrap_or_default()
}

/// An image of this kind: `BUSYBOX` (nothing but that), `SHELLLESS` (no `sh`), `FOREIGN` (another architecture).
pub(crate) fn image_of(kind: &str) -> String {
    named(&format!("STOCKADE_TEST_{kind}_IMAGE")).unwrap_or_default()
}

fn named(variable: &str) -> Option<String> {
    let value = need::variable(variable);
    need::has("docker", value.is_some(), &format!("{variable} is not set: `cargo xtask test` sets it"))
        .then_some(value)
        .flatten()
}

/// A builder for the tests' daemon and image; `None` when the test is to be skipped.
pub(crate) fn builder() -> Option<DockerCommandLineCodeExecutorBuilder> {
    Some(DockerCommandLineCodeExecutor::builder().daemon(daemon()?).image(image()))
}

pub(crate) async fn start(builder: DockerCommandLineCodeExecutorBuilder) -> Session {
    builder.build().expect("the options are valid").start().await.expect("the session starts")
}

/// The id of a session's container.
pub(crate) fn container(session: &Session) -> String {
    session.info().container.as_ref().expect("it runs in a container").id.clone()
}

/// What the docker command prints, which must succeed.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let (succeeded, printed) = try_docker(arguments);
    assert!(succeeded, "docker {arguments:?}: {printed}");
    printed
}

/// Whether the docker command succeeds, and what it prints.
pub(crate) fn try_docker(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("docker");
    if let Some(daemon) = daemon() {
        command.args(["--host", &daemon]);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output().expect("the docker command runs");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).trim_end().to_owned())
}

/// A part of what the daemon knows of a container, by a template: `{{.HostConfig.Memory}}`.
pub(crate) fn inspect(container: &str, template: &str) -> String {
    docker(&["inspect", "--format", template, container])
}

/// Waits until the daemon knows nothing of a container any more.
pub(crate) async fn gone(container: &str) {
    eventually("the end of the container", || (!try_docker(&["inspect", container]).0).then_some(())).await;
}
