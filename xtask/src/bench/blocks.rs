//! The price of a block: alone, in Python, and beside fifteen others.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use stockade::{CodeBlock, LocalCommandLineCodeExecutor, Session};

use crate::{
    bare::{self, Script},
    binding::interpreter,
    limits,
    statistics::{Pair, by_turns, by_turns_of, time},
    table::{Row, format_time},
    workbench::{Result, Workbench, succeeded},
};

const WIDTH: usize = 16;
/// Blocks that each of those at once runs, one after the other, in a round.
const TURNS: usize = 10;

pub(crate) fn sh(workbench: &Workbench) -> Result<Vec<Row>> {
    let pair = sh_pair(workbench)?;
    let row = Row::times("`sh` block of `true`", &pair);
    Ok(vec![row.target("≤ +0.3 ms", pair.overhead_ms() <= 0.3)])
}

pub(crate) fn sh_pair(workbench: &Workbench) -> Result<Pair> {
    let (block, script) = (CodeBlock::new("sh", "true"), Script::shell("true")?);
    one_block(workbench, workbench.session()?, 400, &block, &script)
}

pub(crate) fn python(workbench: &Workbench) -> Result<Vec<Row>> {
    let (fresh, spared) = (python_pair(workbench, 0)?, spared_pair(workbench)?);
    let is_met = spared.stockade <= Duration::from_millis(3);
    let least = limits::of_interpreter(&real_python()?, "pass", workbench.count(60, 15))?;
    Ok(vec![
        Row::times("`python` block of `pass`, no spare", &fresh),
        Row::times("`python` block of `pass`, a spare ready", &spared).target("≤ 3 ms", is_met),
        Row::new("… an interpreter that waits, and ends at once", "").bare(format_time(least), ""),
    ])
}

/// A bare interpreter takes its time between two blocks, and so the next one has started.
pub(crate) fn spared_pair(workbench: &Workbench) -> Result<Pair> {
    python_pair(workbench, 1)
}

fn python_pair(workbench: &Workbench, spares: u32) -> Result<Pair> {
    let (script, block) = (Script::new(&real_python()?, "pass")?, CodeBlock::new("python", "pass"));
    let executor = LocalCommandLineCodeExecutor::builder().no_sandbox().spares(spares).build()?;
    one_block(workbench, workbench.wait(executor.start())?, 60, &block, &script)
}

/// Some of the larger modules of every Python.
const MODULES: [&str; 4] = ["asyncio", "decimal", "http.client", "unittest.mock"];

pub(crate) fn preloaded_pair(workbench: &Workbench) -> Result<Pair> {
    let code = format!("import {}", MODULES.join(", "));
    let (script, block) = (Script::new(&real_python()?, &code)?, CodeBlock::new("python", &*code));
    let executor = LocalCommandLineCodeExecutor::builder().no_sandbox().preload(MODULES).build()?;
    one_block(workbench, workbench.wait(executor.start())?, 20, &block, &script)
}

/// A block that uses pandas, whose import is nearly all that it costs.
const PANDAS: &str = "import pandas\nprint(pandas.DataFrame({'a': [1, 2]}).a.sum())";
/// Blocks of one kind in a row that leave no time for a spare.
const IN_A_ROW: usize = 5;

pub(crate) fn pandas(workbench: &Workbench) -> Result<Vec<Row>> {
    let python = interpreter()?;
    let environment = python.parent().and_then(Path::parent).ok_or("the interpreter is in no environment")?;
    let (script, block) = (Script::new(&python, PANDAS)?, CodeBlock::new("python", PANDAS));
    let session = |preload: &[&str]| -> Result<Session> {
        let executor = LocalCommandLineCodeExecutor::builder().no_sandbox().virtual_env(environment);
        let executor = executor.preload(preload.iter().copied()).spares(u32::from(!preload.is_empty()));
        Ok(workbench.wait(executor.build()?.start())?)
    };
    let fresh = one_block(workbench, session(&[])?, 10, &block, &script)?;
    let preloaded = one_block(workbench, session(&["pandas"])?, 20, &block, &script)?;
    let in_a_row = session(&["pandas"])?;
    let pair = by_turns_of(
        IN_A_ROW,
        workbench.count(6, 2),
        || time(|| workbench.run(&in_a_row, &block)),
        || time(|| script.run()),
    )?;
    workbench.stop(in_a_row)?;
    let is_met = preloaded.stockade <= Duration::from_millis(10);
    let least = limits::of_fork(&python, PANDAS, workbench.count(40, 10))?;
    Ok(vec![
        Row::times("`python` block with pandas, nothing preloaded", &fresh),
        Row::times("`python` block with pandas, preloaded, a spare ready", &preloaded)
            .target("≤ 10 ms", is_met),
        Row::new("… a fork that waits, and ends at once", "").bare(format_time(least), ""),
        Row::times(format!("`python` block with pandas, preloaded, {IN_A_ROW} in a row"), &pair)
            .target("≤ bare", pair.stockade <= pair.bare),
    ])
}

fn one_block(
    workbench: &Workbench,
    session: Session,
    rounds: usize,
    block: &CodeBlock,
    script: &Script,
) -> Result<Pair> {
    let pair = by_turns(
        workbench.count(rounds, rounds / 4),
        || time(|| workbench.run(&session, block)),
        || time(|| script.run()),
    )?;
    workbench.stop(session)?;
    Ok(pair)
}

/// The interpreter itself: what is on PATH can be a version manager's script, which costs more than it starts.
fn real_python() -> Result<PathBuf> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    if !output.status.success() {
        return Err(format!("python3 does not work: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}

pub(crate) fn sixteen_at_once(workbench: &Workbench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, distinct) in [("different", true), ("the same", false)] {
        let pair = width(workbench, distinct)?;
        let what = format!("{WIDTH} `sh` blocks of `true` at once, {what} code");
        let row = Row::rates(what, &pair, (WIDTH * TURNS) as f64, "blocks");
        rows.push(row.target("≥ 60 %", pair.rate_ratio() >= 0.6));
    }
    Ok(rows)
}

pub(crate) fn width_pair(workbench: &Workbench) -> Result<Pair> {
    width(workbench, true)
}

fn width(workbench: &Workbench, distinct: bool) -> Result<Pair> {
    let scripts = (0..WIDTH).map(|_| Script::shell("true")).collect::<Result<Vec<_>>>()?;
    let session = workbench.session()?;
    let pair = by_turns(
        workbench.count(25, 5),
        || time(|| run_at_once(workbench, &session, distinct)),
        || time(|| bare::run_at_once(&scripts, TURNS)),
    )?;
    workbench.stop(session)?;
    Ok(pair)
}

fn run_at_once(workbench: &Workbench, session: &Session, distinct: bool) -> Result<()> {
    let lanes = (0..WIDTH).map(|_| {
        let calls: Vec<_> = (0..TURNS)
            .map(|_| if distinct { workbench.distinct_code() } else { "true".to_owned() })
            .map(|code| session.call(vec![CodeBlock::new("sh", code)]))
            .collect();
        async move {
            for call in calls {
                succeeded(call.run().await?)?;
            }
            Ok(())
        }
    });
    workbench.wait_for_all(lanes).map(drop)
}
