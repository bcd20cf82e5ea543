//! What a test could leave at the daemon, and how it is known. Owns the removal of it, however the test ends.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use stockade::{DockerCommandLineCodeExecutorBuilder, Error};

use crate::{
    engine::{docker, try_docker},
    support::eventually,
};

/// A name that no other test has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("stockade-test-{}-{number}-{}", process::id(), now.as_millis())
}

/// A name for something at the daemon, which is removed when this is dropped.
pub(crate) struct Name {
    name: String,
    removal: &'static [&'static str],
}

impl Name {
    pub(crate) fn of_container() -> Self {
        Self { name: unique(), removal: &["rm", "--force", "--volumes"] }
    }

    pub(crate) fn of_volume() -> Self {
        Self { name: unique(), removal: &["volume", "rm", "--force"] }
    }

    pub(crate) fn of_image() -> Self {
        Self { name: unique(), removal: &["rmi", "--force"] }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        // That it is gone already is no fault.
        let _ = try_docker(&[self.removal, &[&self.name]].concat());
    }
}

/// A label by which a test finds the containers of its sessions.
pub(crate) struct Label(String);

impl Label {
    pub(crate) const NAME: &str = "test";

    pub(crate) fn new() -> Self {
        Self(unique())
    }

    pub(crate) fn value(&self) -> &str {
        &self.0
    }

    /// The ids of all that have it, whatever their state.
    pub(crate) fn containers(&self) -> Vec<String> {
        let filter = format!("label={}={}", Self::NAME, self.0);
        let ids = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
        ids.lines().map(str::to_owned).collect()
    }

    /// Waits until no container has it any more.
    pub(crate) async fn gone(&self) {
        eventually("the end of the containers", || self.containers().is_empty().then_some(())).await;
    }
}

impl Drop for Label {
    fn drop(&mut self) {
        for container in self.containers() {
            let _ = try_docker(&["rm", "--force", "--volumes", &container]);
        }
    }
}

/// Why a start fails, after which there must be no container.
pub(crate) async fn refusal(builder: DockerCommandLineCodeExecutorBuilder) -> Error {
    let label = Label::new();
    let executor = builder.label(Label::NAME, label.value()).build().expect("the options are valid");
    let error = executor.start().await.expect_err("it can't start");
    label.gone().await;
    error
}
