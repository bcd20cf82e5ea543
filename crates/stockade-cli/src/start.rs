//! From the command line to a session. Owns which executor starts with which options, what is said meanwhile,
//! and the cancel of a start.

use std::{pin::pin, time::Duration};

use stockade::{
    CancellationToken, DockerCommandLineCodeExecutor, DockerCommandLineCodeExecutorBuilder,
    LocalCommandLineCodeExecutor, SandboxPolicy, Session,
};
use tokio::time::timeout;

use crate::{
    args::{DockerArgs, Executor, Format, RunArgs},
    error::Error,
    pull::PullDisplay,
    render::{show_note, show_warning},
};

/// How long a cancelled start may take to come to its end; it mostly takes less than a second. Cut short
/// between the making of the container and its start, it would leave one that never runs, and so never ends.
const GRACE: Duration = Duration::from_secs(3);

/// Starts the session that the command line asks for, unless it is cancelled first.
pub(crate) async fn session(args: &RunArgs, token: &CancellationToken) -> Result<Session, Error> {
    match args.executor() {
        Executor::Local => local(args, token).await,
        Executor::Docker => docker(args, token).await,
    }
    .inspect(show_unused_preload)
}

/// Says that preloaded modules are of no use, where they are not.
fn show_unused_preload(session: &Session) {
    if let Some(reason) = session.info().preload.as_ref().and_then(|preload| preload.reason.as_ref()) {
        show_warning(&format!("not preloaded, so that each block imports for itself: {reason}"));
    }
}

async fn local(args: &RunArgs, token: &CancellationToken) -> Result<Session, Error> {
    let mut executor = LocalCommandLineCodeExecutor::builder()
        .timeout(args.timeout)
        .keep_going(args.keep_going)
        .preload(&args.preload);
    executor = match args.sandbox().map_err(Error::sandbox)? {
        Some(sandbox) => executor.sandbox(sandbox),
        None => executor.no_sandbox(),
    };
    if let Some(work_dir) = &args.work_dir {
        executor = executor.work_dir(work_dir);
    }
    if let Some(venv) = &args.venv {
        if !venv.exists() {
            show_note(&format!("creating the virtual environment {}", venv.display()));
        }
        executor = executor.virtual_env(venv);
    }
    for (name, value) in &args.env {
        executor = executor.env(name, value);
    }
    let executor = executor.build().map_err(Error::refused)?;
    let session = tokio::select! {
        session = executor.start() => session.map_err(Error::refused)?,
        () = token.cancelled() => return Err(Error::Cancelled),
    };
    if let Some(policy) = &session.info().policy.sandbox {
        show_compromises(policy, args.format());
    }
    Ok(session)
}

/// Says what of the sandbox is not as it was asked for, or not as strong as it could be.
fn show_compromises(policy: &SandboxPolicy, format: Format) {
    for missing in &policy.degraded {
        show_warning(&format!("not enforced: {}: {}", missing.control, missing.why));
    }
    if let (Some(level), [stronger, ..], Format::Text) = (policy.level, &policy.passed_over[..], format) {
        show_warning(&format!(
            "the sandbox is at the level {level}, a weaker one, for the {} could not be had: {}\n\
             `stockade doctor` tells what helps, and `--sandbox {level}` asks for this one",
            stronger.control, stronger.why
        ));
    }
}

async fn docker(args: &RunArgs, token: &CancellationToken) -> Result<Session, Error> {
    let is_text = args.format() == Format::Text;
    let mut executor = DockerCommandLineCodeExecutor::builder()
        .timeout(args.timeout)
        .keep_going(args.keep_going)
        .preload(&args.preload);
    if let Some(work_dir) = &args.work_dir {
        executor = executor.work_dir(work_dir);
    }
    for (name, value) in &args.env {
        executor = executor.env(name, value);
    }
    let session =
        container(args.container.apply(args.limits.apply(executor)), &args.docker, is_text, token).await?;
    for warning in session.info().policy.container.iter().flat_map(|policy| &policy.warnings) {
        show_warning(warning);
    }
    if let Some(container) = session.info().container.as_ref()
        && args.container.container_stays()
        && is_text
    {
        let name = &container.name;
        show_note(&format!("the container {name} stays after the run; `docker rm -f {name}` removes it"));
    }
    Ok(session)
}

/// Starts a session in a container, unless it is cancelled first; shows people how a pull goes.
pub(crate) async fn container(
    executor: DockerCommandLineCodeExecutorBuilder,
    docker: &DockerArgs,
    for_people: bool,
    token: &CancellationToken,
) -> Result<Session, Error> {
    let pull = PullDisplay::new(docker.image(), for_people);
    let shown = pull.clone();
    let executor = docker.apply(executor).on_pull(move |progress| shown.show(&progress));
    let executor = executor.build().map_err(Error::refused)?;
    let mut start = pin!(executor.start());
    let started = tokio::select! {
        started = &mut start => started,
        () = token.cancelled() => {
            // While a pull is under way nothing has been made.
            if !pull.is_under_way() && let Ok(Ok(session)) = timeout(GRACE, start).await {
                session.stop().await?;
            }
            pull.clear();
            return Err(Error::Cancelled);
        }
    };
    pull.clear();
    Ok(started?)
}
