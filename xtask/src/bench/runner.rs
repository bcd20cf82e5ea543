//! The runner at rest: its size, and the memory of it and the processes that it keeps beside it.

use std::{fs, os::unix::fs::MetadataExt};

use stockade::CodeBlock;

use crate::{
    procfs::{self, Memory},
    table::{Row, format_mebibytes},
    workbench::{Result, Workbench},
};

const MAX_SIZE: u64 = 2_000_000;
const MAX_RESIDENT: u64 = 3_000_000;

pub(crate) fn size_and_memory(workbench: &Workbench) -> Result<Vec<Row>> {
    let session = workbench.session()?;
    workbench.run(&session, &CodeBlock::new("sh", "true"))?;
    let runner = procfs::only_child()?;
    let mut rows = vec![size()?];
    let resident = Memory::of(runner.pid)?.resident;
    rows.push(memory_row("the runner", runner.pid)?.target("< 3 MB resident", resident < MAX_RESIDENT));
    // The zygote is the first process that a runner starts; with one block at a time there is one keeper.
    let helpers = procfs::children(&procfs::processes()?, runner.pid);
    for (name, helper) in ["its zygote", "a keeper"].into_iter().zip(helpers) {
        rows.push(memory_row(name, helper.pid)?);
    }
    workbench.stop(session)?;
    Ok(rows)
}

fn memory_row(name: &str, pid: u32) -> Result<Row> {
    let Memory { resident, anonymous, .. } = Memory::of(pid)?;
    let note = format!("{} of it anonymous", format_mebibytes(anonymous));
    Ok(Row::new(format!("memory of {name}, idle"), format_mebibytes(resident)).bare("", note))
}

/// The size of the copy that this process executes, a file in memory.
fn size() -> Result<Row> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let is_runner = fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:stockade-runner"));
        if is_runner {
            let size = fs::metadata(&path)?.size();
            let row = Row::new("size of the runner's executable", format!("{size} bytes"));
            return Ok(row.target("< 2 MB", size < MAX_SIZE));
        }
    }
    Err("this system does not execute the runner from memory".into())
}
