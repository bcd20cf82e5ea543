//! A pool: from the acquire of an idle session to the result of its first block, beside starting a session for it and,
//! in Docker, beside `docker run`. The pool is full at each acquire, and the last session gone.

use std::{process::Stdio, time::Duration};

use stockade::{CodeBlock, CodeExecutor, LocalCommandLineCodeExecutor, Pool, Session};

use crate::{
    docker::{self, where_there_is_a_daemon},
    procfs,
    statistics::{by_turns_of, median, time},
    table::{Row, format_mebibytes, format_time},
    workbench::{Result, Workbench},
};

/// Sessions of one kind in a row: the daemon works on after a container is gone.
const TURN: usize = 5;
/// How long nothing may be in use, or be started, before a pool is taken not to come to rest.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn local(workbench: &Workbench) -> Result<Vec<Row>> {
    let plain = LocalCommandLineCodeExecutor::builder().no_sandbox().build()?;
    let sandboxed = LocalCommandLineCodeExecutor::builder().build()?;
    let mut rows = vec![first_block(workbench, "", plain, 20)?];
    rows.push(first_block(workbench, "Sandbox: ", sandboxed, 8)?);
    Ok(rows)
}

pub(crate) fn in_docker(workbench: &Workbench) -> Result<Vec<Row>> {
    where_there_is_a_daemon(workbench, "Docker: a pool", || {
        let executor = docker::executor()?;
        let row = first_block(workbench, "Docker: ", executor.clone(), 4)?;
        let mut runs = Vec::new();
        for _ in 0..workbench.count(10, 3) {
            runs.push(time(|| {
                let mut command = docker::docker();
                command.args(["run", "--rm", &docker::image(), "true"]);
                crate::bare::succeed(command.stdin(Stdio::null()).stdout(Stdio::null()))
            })?);
        }
        let run = Row::new("… the same by `docker run --rm`", "").bare(format_time(median(runs)), "");
        Ok(vec![row, run])
    })
}

/// The row of one executor's sessions.
fn first_block(
    workbench: &Workbench,
    whose: &str,
    executor: impl CodeExecutor + Clone + 'static,
    rounds: usize,
) -> Result<Row> {
    let pool = Pool::builder(executor.clone()).min_idle(1).max_total(2).build()?;
    let block = CodeBlock::new("sh", "true");
    let pair = by_turns_of(
        TURN,
        workbench.count(rounds, 1),
        || {
            at_rest(workbench, &pool)?;
            measured(workbench, &block, || Ok(workbench.wait(pool.acquire().into_future())?))
        },
        || {
            at_rest(workbench, &pool)?;
            measured(workbench, &block, || Ok(workbench.wait(executor.start())?))
        },
    )?;
    workbench.wait(pool.close(PATIENCE));
    let what = format!("{whose}acquire from a pool and first `sh` block; bare: start and first block");
    let row = Row::speeds(what, &pair);
    Ok(row.target("≤ 5 ms", pair.stockade <= Duration::from_millis(5)))
}

/// From nothing to the first result; the end of the session is not measured.
fn measured(
    workbench: &Workbench,
    block: &CodeBlock,
    start: impl FnOnce() -> Result<Session>,
) -> Result<Duration> {
    let mut ending = None;
    let took = time(|| {
        let session = start()?;
        workbench.run(&session, block)?;
        ending = Some(session);
        Ok(())
    })?;
    ending.into_iter().try_for_each(|session| workbench.stop(session))?;
    Ok(took)
}

/// Waits until the pool is full, and nothing of it is in use, started or ending.
fn at_rest(workbench: &Workbench, pool: &Pool) -> Result<()> {
    let begun = std::time::Instant::now();
    workbench.wait(pool.fill())?;
    loop {
        let metrics = pool.metrics();
        if metrics.idle > 0 && metrics.in_use + metrics.starting + metrics.ending == 0 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("the pool does not come to rest: {metrics:?}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A thousand acquires of each kind, and what stays of them.
pub(crate) fn cycles(workbench: &Workbench) -> Result<Vec<Row>> {
    let executor = LocalCommandLineCodeExecutor::builder().build()?;
    let mut rows = cycles_of(workbench, "Sandbox: ", executor, workbench.count(1000, 50))?;
    rows.extend(where_there_is_a_daemon(workbench, "Docker: a pool's cycles", || {
        let before = docker::listed("ps", &["--all"])?;
        let volumes = docker::listed("volume", &["ls"])?;
        let mut rows = cycles_of(workbench, "Docker: ", docker::executor()?, workbench.count(1000, 20))?;
        let left = docker::listed("ps", &["--all"])?.saturating_sub(before)
            + docker::listed("volume", &["ls"])?.saturating_sub(volumes);
        rows.push(Row::new("… containers and volumes that stay", left.to_string()).target("none", left == 0));
        Ok(rows)
    })?);
    Ok(rows)
}

fn cycles_of(
    workbench: &Workbench,
    whose: &str,
    executor: impl CodeExecutor + 'static,
    count: usize,
) -> Result<Vec<Row>> {
    let pool = Pool::builder(executor).min_idle(2).max_total(4).build()?;
    let block = CodeBlock::new("sh", "true");
    let cycle = || -> Result<()> {
        let session = workbench.wait(pool.acquire().into_future())?;
        workbench.run(&session, &block)?;
        workbench.stop(session)
    };
    // The first ones open what stays open.
    (0..count.min(100)).try_for_each(|_| cycle())?;
    at_rest(workbench, &pool)?;
    let resident = || -> Result<u64> { Ok(procfs::Memory::of(std::process::id())?.resident) };
    let before = (procfs::own_descriptors_at_rest()?, resident()?);
    let elapsed = time(|| (0..count).try_for_each(|_| cycle()))?;
    at_rest(workbench, &pool)?;
    let after = (procfs::own_descriptors_at_rest()?, resident()?);
    workbench.wait(pool.close(PATIENCE));
    procfs::wait_for_no_children(PATIENCE)?;
    let (descriptors, grown) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    Ok(vec![
        Row::new(
            format!("{whose}{count} sessions of a pool, one after another, each with a block"),
            format!("{} each", format_time(elapsed / count as u32)),
        ),
        Row::new("… descriptors of the host that stay", descriptors.to_string())
            .target("none", descriptors == 0),
        Row::new("… growth of the host's memory", format_mebibytes(grown))
            .target("none (< 2 MiB)", grown < 2 << 20),
    ])
}
