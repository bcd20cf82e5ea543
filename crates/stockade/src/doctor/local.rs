//! Sessions on this host: one without a sandbox, for what a trial is worth, one at each level, and one with limits.
//! Owns their starting; what came of it is judged in `levels`.

use std::time::Duration;

use super::{
    Finding, State, Subject, ask, blocking,
    trial::{self, Attempt, Bait, Refusal, Trial},
};
use crate::{
    LocalCommandLineCodeExecutor, LocalCommandLineCodeExecutorBuilder, Sandbox, SandboxLevel, SandboxPolicy,
    Session, error::chain, runner_image,
};

/// The control without which nothing runs on this host.
pub(super) const RUNNER: &str = "runner";

/// How long a start may take.
pub(super) const START: Duration = Duration::from_secs(3);
/// How long a small program may take.
const PROGRAM: Duration = Duration::from_secs(3);

/// All that was started on this host.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) plain: Result<Attempt, Refusal>,
    pub(super) namespaces: Result<Attempt, Refusal>,
    pub(super) landlock: Result<Attempt, Refusal>,
    /// What the level of Landlock comes to where it is refused.
    pub(super) landlock_at_best: Option<SandboxPolicy>,
}

impl Tried {
    /// Tries each, one after another: they tell how long they take.
    pub(super) async fn everything() -> Self {
        let plain = attempt(None).await;
        let namespaces = attempt(Some(SandboxLevel::Namespaces)).await;
        let landlock = attempt(Some(SandboxLevel::Landlock)).await;
        let landlock_at_best = if landlock.is_err() { at_best().await } else { None };
        Self { plain, namespaces, landlock, landlock_at_best }
    }

    /// The strongest level that starts.
    pub(super) fn level(&self) -> Option<SandboxLevel> {
        let namespaces = self.namespaces.as_ref().map(|_| SandboxLevel::Namespaces);
        namespaces.or_else(|_| self.landlock.as_ref().map(|_| SandboxLevel::Landlock)).ok()
    }

    /// What a block can do that nothing holds.
    pub(super) fn plain_trial(&self) -> Option<&Trial> {
        self.plain.as_ref().ok().map(|attempt| &attempt.trial)
    }

    /// A session that a sandbox held, the one with fewer mechanisms first.
    pub(super) fn held(&self) -> Option<&Attempt> {
        self.landlock.as_ref().or(self.namespaces.as_ref()).ok()
    }
}

fn builder(level: Option<SandboxLevel>) -> LocalCommandLineCodeExecutorBuilder {
    let builder = LocalCommandLineCodeExecutor::builder().timeout(trial::BLOCK);
    match level {
        Some(level) => builder.sandbox(Sandbox::default().level(level)),
        None => builder.no_sandbox(),
    }
}

async fn attempt(level: Option<SandboxLevel>) -> Result<Attempt, Refusal> {
    let build = |bait: &Bait| {
        bait.variables()
            .into_iter()
            .fold(builder(level), |builder, (name, value)| builder.env(name, value))
            .build()
    };
    trial::attempt(build, START).await
}

/// A session at a level.
pub(super) async fn start(level: Option<SandboxLevel>) -> Result<Session, Refusal> {
    trial::start(&builder(level).build()?, START).await
}

/// What Landlock and seccomp come to where they are not enough.
async fn at_best() -> Option<SandboxPolicy> {
    let sandbox = Sandbox::default().level(SandboxLevel::Landlock).best_effort();
    let executor = builder(None).sandbox(sandbox).build().ok()?;
    let session = trial::start(&executor, START).await.ok()?;
    let policy = session.info().policy.sandbox.clone();
    // It is dropped where that takes too long, and then ends by itself.
    let _ = trial::stop(session).await;
    policy
}

/// Starts a session with limits, at whatever level: why it does not, or has none of them.
pub(super) async fn start_with(sandbox: Sandbox) -> Result<(), Refusal> {
    let executor = builder(None).sandbox(sandbox.best_effort()).build()?;
    let session = trial::start(&executor, START).await?;
    let policy = session.info().policy.sandbox.clone();
    trial::stop(session).await?;
    let degraded = policy.map(|policy| policy.degraded).unwrap_or_default();
    match degraded.into_iter().find(|degraded| degraded.control == "limits") {
        None => Ok(()),
        Some(degraded) => Err(Refusal::new(
            degraded.why,
            "run the code in a container with limits (`stockade run --docker -m 512m`)",
        )),
    }
}

/// What no trial tells of local sessions.
pub(super) async fn others() -> Vec<Finding> {
    let (memory, environments) = tokio::join!(memory_execution(), virtual_environments());
    vec![memory, environments]
}

/// Whether a program can be executed from memory, as the runner is.
async fn memory_execution() -> Finding {
    const NAME: &str = "memory execution";
    let why = match blocking(PROGRAM, runner_image::try_memory).await {
        Ok(Ok(())) => {
            return Finding::enforced(Subject::Local, NAME, "the runner is executed from sealed memory");
        }
        Ok(Err(error)) => chain(&error),
        Err(why) => why,
    };
    let detail = "the runner is executed from a private file";
    let fix = "`sysctl -w vm.memfd_noexec=0`, and `mount -t proc proc /proc` where it is not there";
    Finding::lacking(Subject::Local, NAME, State::Degraded, detail, why, fix)
}

/// What would create a virtual environment for `--venv`.
async fn virtual_environments() -> Finding {
    const NAME: &str = "virtual environments";
    let module = ["-c", "import venv, ensurepip"];
    let (uv, venv) = tokio::join!(ask("uv", &["--version"], PROGRAM), ask("python3", &module, PROGRAM));
    match (uv, venv) {
        (Ok(version), _) => Finding::enforced(Subject::Local, NAME, format!("created by {version}")),
        (_, Ok(_)) => {
            Finding::enforced(Subject::Local, NAME, "created by python3 -m venv; uv would be faster")
        }
        (Err(uv), Err(venv)) => Finding::lacking(
            Subject::Local,
            NAME,
            State::Absent,
            "nothing here can create one",
            format!("{uv}; {}", venv.to_string().lines().last().unwrap_or_default()),
            "`pip install uv`, or install the venv module of Python (on Debian and Ubuntu: `apt-get install \
             python3-venv`)",
        ),
    }
}
