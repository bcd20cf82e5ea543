//! What container tests run on: a Docker daemon, a Podman service and the images that they start. Owns which of
//! these the tests are told of, by environment variables; how an engine is come by is in `engine`, how an image is
//! in `images`. A part that can't be had is named and left out: the tests that need it say whether they can do
//! without.

mod api;
mod daemon;
mod engine;
mod images;

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{self, Command},
};

use crate::commands::{run, say};

use engine::Engine;

/// The engines of one run of the tests. Those that it started end when this is dropped.
pub(crate) struct Containers {
    environment: Vec<(&'static str, OsString)>,
    _engines: Vec<Engine>,
}

impl Containers {
    /// Finds or starts the engines, and gives them the images that they lack.
    pub(crate) fn prepare() -> Self {
        Self::try_prepare().unwrap_or_else(|failure| {
            report_missing("containers", &failure);
            Self { environment: Vec::new(), _engines: Vec::new() }
        })
    }

    fn try_prepare() -> Result<Self, String> {
        let folder = folder_for_logs().map_err(|error| format!("make a folder for logs: {error}"))?;
        let mut environment = Vec::new();
        let mut engines = Vec::new();
        for (name, variable, found) in [
            ("docker", "STOCKADE_TEST_DOCKER", engine::docker(&folder)),
            ("podman", "STOCKADE_TEST_PODMAN", engine::podman(&folder)),
        ] {
            match found {
                Ok(engine) => {
                    environment.push((variable, engine.api.address()));
                    engines.push(engine);
                }
                Err(failure) => report_missing(name, &failure),
            }
        }
        if !engines.is_empty() {
            environment.extend(images::provide(&engines, &folder));
        }
        Ok(Self { environment, _engines: engines })
    }

    /// What the tests are told.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, OsString)> {
        self.environment.iter().cloned()
    }
}

fn report_missing(what: &str, failure: &str) {
    say(&format!("MISSING: {what}: {failure}"));
}

/// Beside this program, as that is in a folder that git ignores and `cargo clean` removes.
fn folder_for_logs() -> io::Result<PathBuf> {
    let folder = env::current_exe()?.with_file_name("xtask-containers");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A folder of this process alone, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(within: &Path, purpose: &str) -> Result<Self, String> {
        let scratch = Self(within.join(format!("stockade-{purpose}-{}", process::id())));
        // Left by a process that had our id before and was killed.
        scratch.remove();
        match DirBuilder::new().mode(0o700).create(&scratch.0) {
            Ok(()) => Ok(scratch),
            Err(error) => Err(format!("make {}: {error}", scratch.0.display())),
        }
    }

    /// Leaves other file systems alone: what made a system's folder mounts `/dev` and `/proc` there, and leaves
    /// them mounted when it is killed.
    fn remove(&self) {
        let mut command = Command::new("rm");
        command.args(["-rf", "--one-file-system"]).arg(&self.0);
        if !command.status().is_ok_and(|status| status.success()) {
            say(&format!("{} could not be removed", self.0.display()));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Runs `command` with its output in `log`, whose end explains a failure.
fn run_with_log(command: &mut Command, line: &str, log: &Path) -> Result<(), String> {
    log_to(command, log)?;
    run(command, line).map_err(|failure| explained_by(log, &failure))
}

fn log_to(command: &mut Command, log: &Path) -> Result<(), String> {
    let failure = |error: io::Error| format!("write {}: {error}", log.display());
    let file = fs::File::create(log).map_err(failure)?;
    command.stderr(file.try_clone().map_err(failure)?).stdout(file);
    Ok(())
}

fn explained_by(log: &Path, failure: &str) -> String {
    let content = fs::read(log).unwrap_or_default();
    let end = last_lines(&String::from_utf8_lossy(&content), 10);
    format!("{failure}; the end of {}:\n{end}", log.display())
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_shorter_than_its_end_is_shown_whole() {
        assert_eq!(last_lines("one\ntwo\n", 10), "one\ntwo");
        assert_eq!(last_lines("one\ntwo\nthree\n", 2), "two\nthree");
        assert_eq!(last_lines("", 2), "");
    }

    #[test]
    fn a_failed_command_is_explained_by_what_it_printed() {
        let scratch = Scratch::new(&env::temp_dir(), "log").unwrap();
        let log = scratch.0.join("log");
        let mut command = Command::new("sh");
        let failure =
            run_with_log(command.args(["-c", "echo no space >&2; exit 3"]), "sh", &log).unwrap_err();
        assert!(failure.starts_with("sh failed"), "{failure}");
        assert!(failure.ends_with(":\nno space"), "{failure}");
        let folder = scratch.0.clone();
        drop(scratch);
        assert!(!folder.exists());
    }
}
