//! The price of the sandbox: sessions that start in it, and blocks that run in it, beside the same without one.

use std::time::Duration;

use stockade::{CodeBlock, LocalCommandLineCodeExecutor, Sandbox, SandboxLevel, Session};

use crate::{
    statistics::{by_turns, median, time},
    table::{Row, format_time},
    workbench::{Result, Workbench},
};

const LEVELS: [(&str, SandboxLevel); 2] =
    [("namespaces", SandboxLevel::Namespaces), ("landlock", SandboxLevel::Landlock)];

pub(crate) fn start_and_blocks(workbench: &Workbench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, level) in LEVELS {
        rows.extend(start(workbench, name, level)?);
        for (language, code, rounds) in [("sh", "true", 400), ("python", "pass", 60)] {
            let what = format!("Sandbox, {name}: `{language}` block of `{code}`; bare: without");
            rows.push(block(workbench, what, level, &CodeBlock::new(language, code), rounds)?);
        }
    }
    Ok(rows)
}

fn sandboxed(workbench: &Workbench, level: SandboxLevel) -> Result<Session> {
    let executor =
        LocalCommandLineCodeExecutor::builder().sandbox(Sandbox::default().level(level)).build()?;
    Ok(workbench.wait(executor.start())?)
}

fn start(workbench: &Workbench, name: &str, level: SandboxLevel) -> Result<[Row; 2]> {
    let mut stops = Vec::new();
    let start = by_turns(
        workbench.count(100, 25),
        || {
            let (session, elapsed) = timed(|| sandboxed(workbench, level))?;
            stops.push(time(|| workbench.stop(session))?);
            Ok(elapsed)
        },
        || {
            let (session, elapsed) = timed(|| workbench.session())?;
            workbench.stop(session)?;
            Ok(elapsed)
        },
    )?;
    Ok([
        Row::times(format!("Sandbox, {name}: start of a session; bare: without"), &start)
            .target("≤ +10 ms", start.overhead_ms() <= 10.0),
        Row::new(format!("Sandbox, {name}: stop of a session"), format_time(median(stops))),
    ])
}

/// The session, and how long its start took.
fn timed(start: impl FnOnce() -> Result<Session>) -> Result<(Session, Duration)> {
    let mut session = None;
    let elapsed = time(|| {
        session = Some(start()?);
        Ok(())
    })?;
    Ok((session.ok_or("no session")?, elapsed))
}

fn block(
    workbench: &Workbench,
    what: String,
    level: SandboxLevel,
    block: &CodeBlock,
    rounds: usize,
) -> Result<Row> {
    let (within, without) = (sandboxed(workbench, level)?, workbench.session()?);
    let pair = by_turns(
        workbench.count(rounds, rounds / 4),
        || time(|| workbench.run(&within, block)),
        || time(|| workbench.run(&without, block)),
    )?;
    workbench.stop(within)?;
    workbench.stop(without)?;
    Ok(Row::times(what, &pair).target("≤ +0.2 ms", pair.overhead_ms() <= 0.2))
}
