//! The Docker daemon of the tests, and what it knows of containers. Owns the variables that name the daemon
//! and the image; `cargo xtask test` sets them. A test that lacks them is skipped, said aloud; with
//! `STOCKADE_TEST_REQUIRE` set to `all` or to a list with the word `docker`, it fails.

use std::{
    env, fs,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::support::{Ended, Place, need, wait_for};

/// A daemon and an image for the tests.
pub(crate) struct Engine {
    pub(crate) host: String,
    pub(crate) image: String,
}

impl Engine {
    /// `None` when the calling test is to be skipped.
    pub(crate) fn find() -> Option<Self> {
        let named = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
        let engine = named("STOCKADE_TEST_DOCKER").zip(named("STOCKADE_TEST_IMAGE"));
        let why = "STOCKADE_TEST_DOCKER and STOCKADE_TEST_IMAGE are not set: `cargo xtask test` sets them";
        need("docker", engine.is_some(), why)?;
        engine.map(|(host, image)| Self { host, image })
    }

    /// The command `run` with these arguments, in a container of this image.
    pub(crate) fn run(&self, place: &Place, args: &[&str]) -> Command {
        let daemon = ["run", "--docker-host", &self.host, "--image", &self.image];
        place.command([daemon.as_slice(), args].concat())
    }

    /// As [`run`](Self::run), to its end.
    pub(crate) fn ran(&self, place: &Place, args: &[&str]) -> Ended {
        Ended::new(self.run(place, args).output().expect("the command starts"))
    }

    /// Starts a block of sh in a container of that name, with the place as its work_dir, and waits until it
    /// runs. It sleeps, and ignores a TERM.
    pub(crate) fn started(&self, place: &Place, name: &str, args: &[&str]) -> Child {
        let code = "trap '' TERM; echo begun; touch begun; sleep 60; sleep 60";
        let named = ["--name", name, "-w", ".", "-l", "sh", "-c", code];
        let child = self.run(place, &[named.as_slice(), args].concat()).spawn().expect("the command starts");
        wait_for("the block", || fs::exists(place.path().join("begun")).expect("it is ours").then_some(()));
        child
    }

    /// Another command, such as `ps`, asked for JSON.
    pub(crate) fn json(&self, command: &str) -> serde_json::Value {
        let ended = Place::new().stockade([command, "--json", "--docker-host", &self.host]);
        assert_eq!(ended.status, Some(0), "{ended}");
        ended.json()
    }

    /// What the daemon knows of a container; `None` when there is none.
    pub(crate) fn inspect(&self, container: &str) -> Option<serde_json::Value> {
        let output = self.docker(&["inspect", "--format", "{{json .}}", container]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("it is JSON"))
    }

    pub(crate) fn remove(&self, container: &str) {
        let output = self.docker(&["rm", "-f", container]);
        assert!(output.status.success(), "{output:?}");
    }

    /// Waits until the daemon knows nothing of a container any more.
    pub(crate) fn wait_until_gone(&self, container: &str) {
        wait_for("the end of the container", || self.inspect(container).is_none().then_some(()));
    }

    /// Docker's own command.
    pub(crate) fn docker(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new("docker");
        command.args(["--host", &self.host]).args(args).stdin(Stdio::null());
        command.output().expect("the docker command runs")
    }
}

/// A container name that no other test has.
pub(crate) fn name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("stockade-cli-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
