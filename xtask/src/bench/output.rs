//! A block that prints a gigabyte: how fast it is read, and what that costs in memory.

use std::{
    io::Read,
    process::{Command, Stdio},
};

use stockade::CodeBlock;

use crate::{
    bare::{self, Script},
    procfs::{self, Memory, Peak},
    statistics::{by_turns, time},
    table::{Row, format_mebibytes},
    workbench::{Result, Workbench},
};

const VOLUME: u64 = 1 << 30;
const MAX_GROWTH: u64 = 32 << 20;

pub(crate) fn gigabyte(workbench: &Workbench) -> Result<Vec<Row>> {
    let code = format!("head -c {VOLUME} /dev/zero");
    let (block, script) = (CodeBlock::new("sh", code.as_str()), Script::shell(&code)?);
    let session = workbench.session()?;
    let runner = procfs::only_child()?;
    let before = Peak::begin()?;
    let mut kept = 0;
    let pair = by_turns(
        workbench.count(4, 1),
        || {
            time(|| {
                let outcome = workbench.run(&session, &block)?.blocks.remove(0);
                kept = outcome.stdout.as_bytes().len();
                Ok(())
            })
        },
        || time(|| drain(&mut script.command())),
    )?;
    let growth = before.growth()?;
    let runner = Memory::of(runner.pid)?.peak;
    workbench.stop(session)?;
    let megabytes = VOLUME as f64 / 1e6;
    let rate = megabytes / pair.stockade.as_secs_f64();
    Ok(vec![
        Row::rates("1 GiB printed by a block", &pair, megabytes, "MB").target("≥ 500 MB/s", rate >= 500.0),
        Row::new("… growth of the host's memory", format_mebibytes(growth))
            .bare("", format!("{} kept", format_mebibytes(kept as u64)))
            .target("< 32 MiB", growth < MAX_GROWTH),
        Row::new("… peak of the runner's memory", format_mebibytes(runner)),
    ])
}

/// Reads and forgets everything that the command prints.
fn drain(command: &mut Command) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    if let Some(mut stdout) = child.stdout.take() {
        let mut buffer = vec![0; 1 << 20];
        while stdout.read(&mut buffer)? > 0 {}
    }
    bare::finish(child)
}
