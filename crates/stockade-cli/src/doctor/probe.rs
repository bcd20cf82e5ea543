//! The doctor's trials. Each does what the runner or the local executor would do, in a temporary directory,
//! and leaves nothing.

use std::{
    fs, io,
    os::fd::AsRawFd,
    path::Path,
    process::{Command as Program, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::{MemfdFlags, memfd_create},
    process::{PidfdFlags, getpid, pidfd_open},
};
use stockade::{
    CancellationToken, CodeBlock, LanguageReport, LocalCommandLineCodeExecutor, Session, session_containers,
};

use super::{Check, Findings, Interpreter, State};
use crate::{error::Error, render::duration};

/// The check without which nothing runs.
pub(super) const RUNNER: &str = "runner";

/// Longer than an interpreter takes to say its version, and not too long for who waits for the answer.
const VERSION_TIMEOUT: Duration = Duration::from_secs(3);

/// Tries everything.
pub(super) async fn findings() -> Findings {
    let (runner, reports) = match start_and_run().await {
        Ok((check, reports)) => (check, reports),
        Err(error) => (failed(RUNNER, &error), Vec::new()),
    };
    Findings {
        version: env!("CARGO_PKG_VERSION"),
        kernel: kernel(),
        checks: vec![
            runner,
            host_death(),
            memory_execution(),
            virtual_environments(),
            sandbox(),
            containers().await,
        ],
        interpreters: interpreters(reports).await,
    }
}

fn kernel() -> String {
    let name = rustix::system::uname();
    format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}

/// Starts a session and runs a block in it.
async fn start_and_run() -> Result<(Check, Vec<LanguageReport>), Error> {
    let executor = LocalCommandLineCodeExecutor::builder().timeout(Duration::from_secs(10)).build()?;
    let before = Instant::now();
    let session = executor.start().await?;
    let start = before.elapsed();
    let tried = run_and_list(&session).await;
    session.stop().await?;
    let (check, reports) = tried?;
    let detail = format!("starts in {}, {}", duration(start), check.detail);
    Ok((Check { detail, ..check }, reports))
}

async fn run_and_list(session: &Session) -> Result<(Check, Vec<LanguageReport>), Error> {
    let before = Instant::now();
    let result =
        session.execute_code_blocks(&[CodeBlock::new("sh", "true")], &CancellationToken::new()).await?;
    let block = before.elapsed();
    let check = if result.exit_code == 0 {
        Check::new(RUNNER, State::Enforced, format!("runs a block of sh in {}", duration(block)))
    } else {
        Check::new(RUNNER, State::Absent, format!("a block of sh failed: {}", result.output.trim()))
            .fix("make sure that /bin/sh works and that programs can be executed in the temporary directory")
    };
    Ok((check, session.languages().await?))
}

fn failed(name: &'static str, error: &Error) -> Check {
    let check = Check::new(name, State::Absent, error.message());
    match error.hint() {
        Some(hint) => check.fix(hint),
        None => check,
    }
}

/// Whether a process can be watched without polling, as the runner watches its host.
fn host_death() -> Check {
    const NAME: &str = "pidfd";
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Check::new(NAME, State::Enforced, "the runner sees its host end, however it ends"),
        Err(error) => Check::new(NAME, State::Absent, format!("pidfd_open: {}", io::Error::from(error)))
            .fix("use Linux 5.3 or newer, and a seccomp policy that allows pidfd_open"),
    }
}

/// Whether a program can be executed from memory, as the runner is.
fn memory_execution() -> Check {
    const NAME: &str = "memory execution";
    match execute_from_memory() {
        Ok(()) => Check::new(NAME, State::Enforced, "the runner is executed from sealed memory"),
        Err(error) => {
            Check::new(NAME, State::Degraded, format!("{error}; the runner is executed from a private file"))
                .fix("set the sysctl vm.memfd_noexec to 0 or 1, and mount /proc")
        }
    }
}

/// Executes this very program, for it is there and ends at once with `--version`.
fn execute_from_memory() -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match memfd_create("stockade-doctor", flags | MemfdFlags::EXEC) {
        // Linux before 6.3 does not know the flag.
        Err(rustix::io::Errno::INVAL) => memfd_create("stockade-doctor", flags)?,
        other => other?,
    };
    let mut copy = fs::File::from(memory);
    io::copy(&mut fs::File::open("/proc/self/exe")?, &mut copy)?;
    let status = Program::new(format!("/proc/self/fd/{}", copy.as_raw_fd()))
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("a program in memory ended with {status}")))
    }
}

/// What would create a virtual environment for `--venv`.
fn virtual_environments() -> Check {
    const NAME: &str = "virtual environments";
    if quiet("uv", &["--version"]) {
        return Check::new(NAME, State::Enforced, "created by uv");
    }
    if quiet("python3", &["-c", "import venv, ensurepip"]) {
        return Check::new(NAME, State::Enforced, "created by python3 -m venv; uv would be faster");
    }
    Check::new(NAME, State::Absent, "neither uv nor the venv module of python3 is there")
        .fix("install uv, or on Debian and Ubuntu the package python3-venv")
}

fn quiet(program: &str, args: &[&str]) -> bool {
    let mut program = Program::new(program);
    program.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    program.status().is_ok_and(|status| status.success())
}

fn sandbox() -> Check {
    Check::new("sandbox", State::Absent, "this version has none: local code runs with your rights")
        .fix("run only code that you would run yourself, or run stockade in a container or a virtual machine")
}

/// Whether a daemon answers that can run blocks in containers.
async fn containers() -> Check {
    const NAME: &str = "docker";
    match session_containers(None).await {
        Ok(found) => {
            let count = match found.len() {
                0 => "no container of a session".to_owned(),
                1 => "1 container of a session".to_owned(),
                count => format!("{count} containers of sessions"),
            };
            Check::new(NAME, State::Enforced, format!("a daemon answers, and has {count}"))
        }
        Err(error) => failed(NAME, &error.into()),
    }
}

/// The languages that run, with what runs them. Versions are asked for all at once.
async fn interpreters(reports: Vec<LanguageReport>) -> Vec<Interpreter> {
    let asked: Vec<_> = reports
        .into_iter()
        .filter(|report| report.runs)
        .map(|report| {
            tokio::spawn(async move {
                let version = match &report.interpreter {
                    Some(path) => version(&report.name, path).await,
                    None => None,
                };
                let path = report.interpreter.map(|path| path.to_string_lossy().into_owned());
                Interpreter { language: report.name, path, version }
            })
        })
        .collect();
    let mut interpreters = Vec::new();
    for task in asked {
        interpreters.extend(task.await.ok());
    }
    interpreters
}

/// The first line of what an interpreter says about its version; `None` when it has no such flag, as POSIX
/// sh.
async fn version(language: &str, path: &Path) -> Option<String> {
    let flag = match language {
        "go" => "version",
        "lua" => "-v",
        _ => "--version",
    };
    let mut program = tokio::process::Command::new(path);
    program.arg(flag).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_TIMEOUT, program.output()).await.ok()?.ok()?;
    let printed = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let printed = String::from_utf8_lossy(&printed).into_owned();
    let line = printed.lines().map(str::trim).find(|line| !line.is_empty())?;
    output.status.success().then(|| line.to_owned())
}
