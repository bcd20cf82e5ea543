//! Sessions: the time of one, the price of a thousand, and whether anything grows in one that lives long.

use std::{
    process::{Command, Stdio, id},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stockade::{CodeBlock, LocalCommandLineCodeExecutor, Session};

use crate::{
    bare::{self, Script},
    procfs::{self, Memory, Process},
    statistics::{Pair, by_turns, median, milliseconds, time},
    table::{Row, format_mebibytes, format_time},
    workbench::{Result, Workbench, succeeded},
};

/// Sessions that are being started at the same time.
const STARTING: usize = 16;
/// Blocks at once in the session that lives long.
const WIDTH: usize = 4;
/// Growth of memory that is taken for none: what an allocator holds back differs from one moment to the next.
const NO_GROWTH: u64 = 2 << 20;

pub(crate) fn start_and_stop(workbench: &Workbench) -> Result<Vec<Row>> {
    let (start, stops) = starts_and_stops(workbench)?;
    let fast = start.stockade <= Duration::from_millis(5);
    Ok(vec![
        Row::times("start of a session; bare: `/bin/true`", &start).target("≤ 5 ms", fast),
        Row::new("stop of a session", format_time(median(stops))),
    ])
}

pub(crate) fn start_pair(workbench: &Workbench) -> Result<Pair> {
    Ok(starts_and_stops(workbench)?.0)
}

fn starts_and_stops(workbench: &Workbench) -> Result<(Pair, Vec<Duration>)> {
    let mut stops = Vec::new();
    let start = by_turns(
        workbench.count(100, 25),
        || {
            let mut session = None;
            let started = time(|| {
                session = Some(workbench.session()?);
                Ok(())
            })?;
            if let Some(session) = session {
                stops.push(time(|| workbench.stop(session))?);
            }
            Ok(started)
        },
        || time(|| bare::succeed(Command::new("/bin/true").stdin(Stdio::null()))),
    )?;
    Ok((start, stops))
}

pub(crate) fn many_at_once(workbench: &Workbench) -> Result<Vec<Row>> {
    raise_descriptor_limit()?;
    let count = workbench.count(1000, 100);
    // An allocator comes to rest in the second wave; whatever leaks grows in the third too.
    for _ in 0..2 {
        let warm_up = Wave::start(workbench, count)?;
        warm_up.run_blocks(workbench)?;
        warm_up.stop(workbench)?;
    }
    let before = (procfs::own_descriptors_at_rest()?, Memory::of(id())?.resident);
    let wave = Wave::start(workbench, count)?;
    let started = wave.started;
    let (descriptors, family) = (procfs::own_descriptors()? - before.0, wave.family()?);
    let scripts = (0..STARTING).map(|_| Script::shell("true")).collect::<Result<Vec<_>>>()?;
    let blocks = by_turns(
        workbench.count(3, 1),
        || wave.run_blocks(workbench),
        || time(|| bare::run_at_once(&scripts, count.div_ceil(STARTING))),
    )?;
    let stopped = wave.stop(workbench)?;
    let after = (procfs::own_descriptors_at_rest()?, Memory::of(id())?.resident);

    let (left, grown) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    let each = |time: Duration| format!("{:.2} ms each", milliseconds(time) / count as f64);
    let [resident, anonymous] =
        [family.resident, family.anonymous].map(|bytes| format_mebibytes(bytes / count as u64));
    Ok(vec![
        Row::new(format!("{count} sessions at once: start"), each(started)),
        Row::rates(
            "… one `sh` block in each, all at once; bare: 16 at once",
            &blocks,
            count as f64,
            "blocks",
        ),
        Row::new("… stop, all at once", each(stopped)),
        Row::new("… descriptors of the host, each", format!("{:.2}", descriptors as f64 / count as f64)),
        Row::new("… memory of its processes, each", resident)
            .bare("", format!("{anonymous} of it anonymous")),
        Row::new("… descriptors of the host that stay open", left.to_string()).target("none", left == 0),
        Row::new("… growth of the host's memory", format_mebibytes(grown))
            .target("none (< 2 MiB)", grown < NO_GROWTH),
    ])
}

/// Sessions that are there at once.
struct Wave {
    sessions: Vec<Session>,
    started: Duration,
}

impl Wave {
    fn start(workbench: &Workbench, count: usize) -> Result<Self> {
        let executor = LocalCommandLineCodeExecutor::builder().no_sandbox().build()?;
        let mut sessions = Vec::with_capacity(count);
        let started = time(|| {
            let lanes = (0..STARTING).map(|lane| {
                let executor = executor.clone();
                async move {
                    let mut sessions = Vec::new();
                    for _ in (lane..count).step_by(STARTING) {
                        sessions.push(executor.start().await?);
                    }
                    Ok(sessions)
                }
            });
            sessions.extend(workbench.wait_for_all(lanes)?.into_iter().flatten());
            Ok(())
        })?;
        Ok(Self { sessions, started })
    }

    /// One block in each, all at once.
    fn run_blocks(&self, workbench: &Workbench) -> Result<Duration> {
        let calls = self.sessions.iter().map(|session| session.call(vec![CodeBlock::new("sh", "true")]));
        let calls = calls.map(|call| async { succeeded(call.run().await?) });
        time(|| workbench.wait_for_all(calls))
    }

    fn stop(self, workbench: &Workbench) -> Result<Duration> {
        let stops = self.sessions.into_iter().map(|session| async { Ok(session.stop().await?) });
        time(|| workbench.wait_for_all(stops))
    }

    /// The memory of all runners and what they keep beside them.
    fn family(&self) -> Result<Memory> {
        let all = procfs::processes()?;
        let mut sum = Memory::default();
        for runner in procfs::children(&all, id()) {
            add_family(&mut sum, &all, runner)?;
        }
        Ok(sum)
    }
}

fn add_family(sum: &mut Memory, all: &[Process], process: Process) -> Result<()> {
    let memory = Memory::of(process.pid)?;
    sum.resident += memory.resident;
    sum.anonymous += memory.anonymous;
    procfs::children(all, process.pid).into_iter().try_for_each(|child| add_family(sum, all, child))
}

fn raise_descriptor_limit() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

pub(crate) fn many_blocks(workbench: &Workbench) -> Result<Vec<Row>> {
    let count = workbench.count(10_000, 1000);
    let session = workbench.session()?;
    let runner = procfs::only_child()?.pid;
    // First as many as fill what is kept ready: buffers, tables, keepers.
    run_blocks(workbench, &session, 200)?;
    let before = [Usage::of(id())?, Usage::of(runner)?];
    let elapsed = time(|| run_blocks(workbench, &session, count))?;
    let after = [Usage::of(id())?, Usage::of(runner)?];
    workbench.stop(session)?;
    let mut rows = vec![Row::new(
        format!("{count} blocks in one session, {WIDTH} at once"),
        format!("{:.2} ms each", milliseconds(elapsed) / count as f64),
    )];
    for (name, (before, after)) in ["host", "runner"].into_iter().zip(before.into_iter().zip(after)) {
        rows.extend(growth_rows(name, &before, &after));
    }
    Ok(rows)
}

fn run_blocks(workbench: &Workbench, session: &Session, count: usize) -> Result<()> {
    for _ in 0..count / WIDTH {
        let blocks = (0..WIDTH).map(|_| CodeBlock::new("sh", workbench.distinct_code()));
        let calls = blocks.map(|block| session.call(vec![block]));
        workbench.wait_for_all(calls.map(|call| async { succeeded(call.run().await?) }))?;
    }
    Ok(())
}

/// What a process holds.
struct Usage {
    descriptors: Option<usize>,
    resident: u64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        Ok(Self { descriptors: procfs::descriptors(pid), resident: Memory::of(pid)?.resident })
    }
}

fn growth_rows(name: &str, before: &Usage, after: &Usage) -> Vec<Row> {
    let mut rows = Vec::new();
    let what = format!("… descriptors of the {name}, before and after");
    rows.push(match (before.descriptors, after.descriptors) {
        (Some(before), Some(after)) => {
            Row::new(what, format!("{before} → {after}")).target("no growth", after <= before)
        }
        _ => Row::new(what, "hidden: only root can see them"),
    });
    let [from, to] = [before, after].map(|usage| format_mebibytes(usage.resident));
    rows.push(
        Row::new(format!("… memory of the {name}, before and after"), format!("{from} → {to}"))
            .target("no growth (< 2 MiB)", after.resident.saturating_sub(before.resident) < NO_GROWTH),
    );
    rows
}
