//! How soon an end comes: of a block that is cancelled, and of a tree of processes that has to be killed.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};
use stockade::{CancellationToken, CodeBlock, CommandLineCodeResult, Event, Session, Status};

use crate::{
    bare::Script,
    statistics::by_turns,
    table::Row,
    workbench::{Result, Workbench},
};

/// How long a block has run when its end begins: time enough to have started all its processes.
const RUN_IN: Duration = Duration::from_millis(150);
/// Between TERM and KILL, as the contract has it.
const GRACE: Duration = Duration::from_secs(1);

/// Twenty processes, that of the script included. They inherit that TERM is ignored.
const STUBBORN_TREE: &str = "trap '' TERM\nfor i in $(seq 19); do sleep 100 & done\nwait\n";

pub(crate) fn cancel(workbench: &Workbench) -> Result<Vec<Row>> {
    let (block, script) = (CodeBlock::new("sh", "sleep 100"), Script::shell("sleep 100")?);
    let session = workbench.session()?;
    let pair = by_turns(
        workbench.count(20, 5),
        || workbench.wait(time_cancel(&session, &block)),
        || end_bare(&script, Signal::TERM),
    )?;
    workbench.stop(session)?;
    Ok(vec![Row::times("from cancel to result of `sleep 100`; bare: a TERM", &pair)])
}

async fn time_cancel(session: &Session, block: &CodeBlock) -> Result<Duration> {
    let token = CancellationToken::new();
    let mut events = session.call(vec![block.clone()]).cancellation_token(&token).events()?;
    let mut begun = Instant::now();
    while let Some(event) = events.next().await {
        match event? {
            Event::BlockStarted { .. } => {
                sleep(RUN_IN);
                begun = Instant::now();
                token.cancel();
            }
            Event::Finished(result) => {
                expect_status(&result, Status::Cancelled)?;
                return Ok(begun.elapsed());
            }
            _ => {}
        }
    }
    Err("a call gave no result".into())
}

pub(crate) fn kill(workbench: &Workbench) -> Result<Vec<Row>> {
    let (block, script) = (CodeBlock::new("sh", STUBBORN_TREE), Script::shell(STUBBORN_TREE)?);
    let session = workbench.session()?;
    let pair = by_turns(
        workbench.count(8, 2),
        || workbench.wait(time_timeout(&session, &block)),
        || end_bare(&script, Signal::KILL),
    )?;
    workbench.stop(session)?;
    Ok(vec![Row::times("a tree of 20 that ignores TERM, past timeout and grace; bare: a KILL", &pair)])
}

/// How much longer than its timeout and the grace a call takes whose block has to be killed. The start of the
/// block is part of that, for the event that tells of it comes later than the start.
async fn time_timeout(session: &Session, block: &CodeBlock) -> Result<Duration> {
    let begun = Instant::now();
    let result = session.call(vec![block.clone()]).timeout(RUN_IN).run().await?;
    let elapsed = begun.elapsed();
    expect_status(&result, Status::TimedOut)?;
    elapsed.checked_sub(RUN_IN + GRACE).ok_or_else(|| "a block was killed before its grace was over".into())
}

fn expect_status(result: &CommandLineCodeResult, expected: Status) -> Result<()> {
    match result.blocks.first().map(|block| block.status) {
        Some(status) if status == expected => Ok(()),
        other => Err(format!("a block should have been {expected}, and was {other:?}").into()),
    }
}

/// How long a bare script and everything below it take to end, from a signal to their process group.
fn end_bare(script: &Script, signal: Signal) -> Result<Duration> {
    let mut child = script.command().stdout(Stdio::piped()).process_group(0).spawn()?;
    sleep(RUN_IN);
    let begun = Instant::now();
    let ended = kill_process_group(Pid::from_child(&child), signal);
    wait_for_tree(&mut child)?;
    ended?;
    Ok(begun.elapsed())
}

/// Waits until nobody holds the script's stdout any more.
fn wait_for_tree(child: &mut Child) -> Result<()> {
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_end(&mut Vec::new())?;
    }
    child.wait()?;
    Ok(())
}
