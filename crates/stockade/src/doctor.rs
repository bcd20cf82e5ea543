//! What this machine and its container daemons can hold code to, found out by trying it. Owns the order of an
//! examination, its bounds in time and what a finding is; each trial is a module's. It believes no version number, it
//! pulls no image, and it leaves nothing behind.
//!
//! ```text
//! trial          a block that tries to get out, and whether it did
//! local          sessions on this host: with no sandbox, at each level, and with limits
//! levels         what their trials mean, the kernel's part included
//! machine        pidfds, bubblewrap, control groups
//! interpreters   what runs each language, and its version
//! engines        Docker and Podman, and a container with the defaults
//! ```

mod engines;
mod interpreters;
mod levels;
mod local;
mod machine;
mod trial;

use std::{process::Stdio, thread, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{process::Command, runtime::Builder, sync::oneshot, time::timeout};

use crate::executor::docker::DEFAULT_IMAGE;

/// How far a control holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds: what it forbids was tried and failed.
    Enforced,
    /// It holds in part, something weaker stands in for it, or it could not be tried.
    Degraded,
    /// It does not hold.
    Absent,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// The kernel and the programs that sandboxes are made with.
    Machine,
    /// Limits of a local session, by control groups.
    Limits,
    /// Local sessions, whatever holds them.
    Local,
    /// Those in namespaces.
    Namespaces,
    /// Those that Landlock and seccomp alone hold.
    Landlock,
    /// Containers, by the daemon that an executor would find.
    Docker,
    /// Podman, whether or not that daemon is it.
    Podman,
    /// What runs each language on this host.
    Interpreters,
}

/// A control, and how far it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// The control's name, which is unique within the subject.
    pub control: String,
    /// How far it holds.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// Why it does not hold; given whenever it does not.
    pub why: Option<String>,
    /// What to do about it, a command where one does it; given whenever it does not hold.
    pub fix: Option<String>,
}

impl Finding {
    fn enforced(subject: Subject, control: &str, detail: impl Into<String>) -> Self {
        let (control, detail) = (control.to_owned(), detail.into());
        Self { subject, control, state: State::Enforced, detail, why: None, fix: None }
    }

    fn lacking(
        subject: Subject,
        control: &str,
        state: State,
        detail: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let (why, fix) = (Some(why.into()), Some(fix.into()));
        Self { state, why, fix, ..Self::enforced(subject, control, detail) }
    }

    /// Whether code can be run, on this host or in a container, with or without a sandbox.
    pub fn can_run(findings: &[Finding]) -> bool {
        let runs = Self::find(findings, Subject::Local, local::RUNNER);
        runs.is_some_and(|found| found.state != State::Absent) || Self::can_run_sandboxed(findings)
    }

    /// Whether code can be run in at least one way that holds it: at a level of the local sandbox that starts and of
    /// whose controls none is absent, or in a container that was started.
    pub fn can_run_sandboxed(findings: &[Finding]) -> bool {
        let starts = |subject, control| {
            Self::find(findings, subject, control).is_some_and(|found| found.state == State::Enforced)
        };
        let leaks = |subject| findings.iter().any(|found| found.subject == subject && found.is_absent());
        let local = [Subject::Namespaces, Subject::Landlock];
        let in_sandbox = local.into_iter().any(|subject| starts(subject, levels::START) && !leaks(subject));
        in_sandbox || starts(Subject::Docker, engines::CONTAINER)
    }

    fn is_absent(&self) -> bool {
        self.state == State::Absent
    }

    fn find<'a>(findings: &'a [Finding], subject: Subject, control: &str) -> Option<&'a Finding> {
        findings.iter().find(|found| found.subject == subject && found.control == control)
    }
}

/// Examines this machine, and the container daemon that an executor would find: every control, tried.
///
/// It starts sessions with and without a sandbox, makes control groups and, where the daemon has the default image, a
/// container, and removes all of it. It takes a second or two. Everything that it waits for has a limit, so that it ends
/// within half a minute where nothing answers at all; and it never fails. On control groups of version 2 this process may
/// find itself in another group afterwards, as after the start of a session with limits.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use stockade::{State, Subject};
///
/// let findings = stockade::examine().await;
/// for finding in findings.iter().filter(|finding| finding.state != State::Enforced) {
///     assert!(finding.why.is_some() && finding.fix.is_some(), "{finding:?}");
/// }
/// assert!(findings.iter().any(|finding| finding.subject == Subject::Landlock));
/// # });
/// ```
pub async fn examine() -> Vec<Finding> {
    Examination::default().run().await
}

/// An examination with a daemon or an image of one's own; [`examine`] takes the defaults.
#[derive(Debug, Clone)]
#[must_use = "an examination does nothing until `run`"]
pub struct Examination {
    daemon: Option<String>,
    image: String,
}

impl Default for Examination {
    fn default() -> Self {
        Self { daemon: None, image: DEFAULT_IMAGE.to_owned() }
    }
}

impl Examination {
    /// The daemon's address, as in `DOCKER_HOST`; by default it is looked for as an executor does.
    pub fn daemon(mut self, address: impl Into<String>) -> Self {
        self.daemon = Some(address.into());
        self
    }

    /// The image that a container is started of, if the daemon has it; `python:3-slim` by default.
    pub fn image(mut self, image: impl Into<String>) -> Self {
        self.image = image.into();
        self
    }

    /// Examines, as [`examine`] does.
    pub async fn run(self) -> Vec<Finding> {
        let (told, findings) = oneshot::channel();
        // On a thread of its own: some trials block, and the caller's runtime may be any.
        let thread = thread::Builder::new().name("stockade-doctor".to_owned()).spawn(move || {
            if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
                let found = runtime.block_on(self.findings());
                runtime.shutdown_background();
                let _ = told.send(found);
            }
        });
        match thread.map(|_| findings) {
            Ok(findings) => findings.await.unwrap_or_else(|_| vec![no_threads("it ended early")]),
            Err(error) => vec![no_threads(&error.to_string())],
        }
    }

    /// First what tells how long it takes, while nothing else runs; then all the rest at once.
    async fn findings(&self) -> Vec<Finding> {
        let mut tried = local::Tried::everything().await;
        let engines = engines::Engines::ask(self.daemon.as_deref(), &self.image).await;
        let (docker, podman) = engines.findings(tried.plain_trial());
        let kernel = levels::kernel(&mut tried).await;
        let (bubblewrap, limits, local, interpreters) = tokio::join!(
            machine::bubblewrap(&tried),
            machine::limits(),
            local::others(),
            interpreters::findings(tried.level()),
        );
        let machine = kernel.into_iter().chain([machine::host_death(), bubblewrap]).collect();
        let (sessions, levels) = (levels::sessions(&tried), levels::findings(&tried));
        let parts = [machine, sessions, local, limits, levels, docker, vec![podman], interpreters];
        parts.into_iter().flatten().collect()
    }
}

fn no_threads(why: &str) -> Finding {
    let detail = "nothing could be tried";
    let why = format!("the examination has no thread to run on: {why}");
    let fix = "raise the limits of processes and open files (`ulimit -u`, `ulimit -n`)";
    Finding::lacking(Subject::Local, local::RUNNER, State::Absent, detail, why, fix)
}

/// What a function gives that may block; why it gave nothing.
async fn blocking<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let late = |_| format!("it took more than {} s", limit.as_secs());
    let worked = timeout(limit, tokio::task::spawn_blocking(work)).await.map_err(late)?;
    worked.map_err(|error| error.to_string())
}

/// How long a small program may take.
const PROGRAM: Duration = Duration::from_secs(2);

/// Why a small program gave no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    /// It is not there, can't be executed or does not end: that tells nothing of what it was asked.
    #[error("{0}")]
    NotRun(String),
    /// It says no.
    #[error("{0}")]
    Failed(String),
}

/// What a small program printed.
async fn ask(program: &str, args: &[&str], limit: Duration) -> Result<String, AskError> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(limit, command.output()).await;
    let late = |_| AskError::NotRun(format!("{program} did not end within {limit:?}"));
    let output = output.map_err(late)?.map_err(|error| AskError::NotRun(format!("{program}: {error}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false if output.stderr.is_empty() => {
            Err(AskError::Failed(format!("{program} ended with {}", output.status)))
        }
        false => Err(AskError::Failed(text(&output.stderr))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacking(subject: Subject, control: &str, state: State) -> Finding {
        Finding::lacking(subject, control, state, "detail", "why", "fix")
    }

    #[test]
    fn one_way_that_holds_is_enough_and_one_that_leaks_is_none() {
        let runner = Finding::enforced(Subject::Local, local::RUNNER, "runs");
        let starts = Finding::enforced(Subject::Landlock, levels::START, "starts");
        let refused = lacking(Subject::Namespaces, levels::START, State::Absent);
        let findings = vec![runner, refused.clone(), starts];
        assert!(Finding::can_run_sandboxed(&findings));
        let leaking = [findings, vec![lacking(Subject::Landlock, "files", State::Absent)]].concat();
        assert!(!Finding::can_run_sandboxed(&leaking));
        assert!(Finding::can_run(&leaking), "without a sandbox");
        let container = Finding::enforced(Subject::Docker, engines::CONTAINER, "starts");
        assert!(Finding::can_run_sandboxed(&[leaking, vec![container]].concat()));
        assert!(!Finding::can_run(&[refused]));
    }

    #[tokio::test]
    async fn a_program_that_says_no_is_not_one_that_can_not_be_asked() {
        let long = Duration::from_secs(10);
        let hung = ask("sleep", &["60"], Duration::from_millis(100)).await;
        assert!(matches!(hung, Err(AskError::NotRun(_))), "{hung:?}");
        let missing = ask("/nonexistent", &[], long).await;
        assert!(matches!(missing, Err(AskError::NotRun(_))), "{missing:?}");
        let refused = ask("sh", &["-c", "echo no >&2; exit 1"], long).await;
        assert!(matches!(&refused, Err(AskError::Failed(why)) if why == "no"), "{refused:?}");
        assert_eq!(ask("echo", &["a b"], long).await.ok().as_deref(), Some("a b"));
    }
}
