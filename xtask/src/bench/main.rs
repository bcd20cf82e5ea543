//! `cargo xtask bench`: what Stockade costs, as one Markdown table on stdout, with progress on stderr.
//!
//! Each row stands beside its bare counterpart: the same script, saved and run by `std::process`. Both are
//! measured by turns in this one run, so that whatever else the machine does falls on both alike; times are
//! medians. The numbers belong to this machine and hour, the comparisons travel. Nothing here is a test: a
//! target that is missed is said so in the table, and only a measurement that fails is a failure.
//!
//! Blocks run as a user of the library runs them: release build, embedded runner, default options, and the
//! call awaited on a current-thread tokio runtime. A bare script's streams are /dev/null unless said otherwise.
//! Files are saved below TMPDIR, which `cargo xtask bench` sets to a file system in memory where there is one.

mod autogen;
mod bare;
mod binding;
mod blocks;
mod docker;
mod endings;
mod guard;
mod limits;
mod output;
mod peers;
mod pool;
mod procfs;
mod runner;
mod sandbox;
mod sessions;
mod statistics;
mod table;
mod workbench;

use std::{process::ExitCode, time::Duration};

use crate::{
    table::{Row, Table},
    workbench::{Result, Workbench},
};

/// Rows that are measured together.
struct Group {
    name: &'static str,
    about: &'static str,
    measure: fn(&Workbench) -> Result<Vec<Row>>,
}

const GROUPS: &[Group] = &[
    Group { name: "sh", about: "a shell block of `true`", measure: blocks::sh },
    Group { name: "python", about: "a Python block of `pass`", measure: blocks::python },
    Group { name: "pandas", about: "a Python block that imports pandas", measure: blocks::pandas },
    Group { name: "binding", about: "what Python adds to the library", measure: binding::block_and_import },
    Group { name: "width", about: "16 shell blocks at once", measure: blocks::sixteen_at_once },
    Group { name: "output", about: "1 GiB printed by a block", measure: output::gigabyte },
    Group { name: "cancel", about: "from a cancel to the result", measure: endings::cancel },
    Group { name: "kill", about: "the end of a tree that ignores TERM", measure: endings::kill },
    Group { name: "start", about: "start and stop of a session", measure: sessions::start_and_stop },
    Group {
        name: "sandbox",
        about: "sessions and blocks in the sandbox",
        measure: sandbox::start_and_blocks,
    },
    Group { name: "runner", about: "size and memory of the idle runner", measure: runner::size_and_memory },
    Group { name: "sessions", about: "1 000 sessions at once", measure: sessions::many_at_once },
    Group { name: "blocks", about: "10 000 blocks in one session", measure: sessions::many_blocks },
    Group { name: "pool", about: "a first block in a session of a pool", measure: pool::local },
    Group { name: "docker", about: "blocks in a container, alone and at once", measure: docker::blocks },
    Group { name: "docker-start", about: "start and stop of a container", measure: docker::start_and_stop },
    Group { name: "docker-many", about: "50 containers at once", measure: docker::many },
    Group { name: "docker-pool", about: "the same in a container", measure: pool::in_docker },
    Group {
        name: "peers",
        about: "Stockade beside those who do the same; writes docs/benchmarks",
        measure: peers::side_by_side,
    },
    Group {
        name: "autogen",
        about: "the Python package beside AutoGen's executors",
        measure: autogen::beside_autogen,
    },
    Group { name: "docker-cycles", about: "1 000 times start and stop", measure: docker::cycles },
    Group { name: "pool-cycles", about: "1 000 sessions of a pool", measure: pool::cycles },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
        print!("{}", help());
        return ExitCode::SUCCESS;
    }
    if let [only] = arguments.as_slice()
        && only == "--guard"
    {
        return ended(Workbench::new(true).and_then(|workbench| guard::keep_watch(&workbench)));
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let names: Vec<_> = arguments.iter().filter(|argument| *argument != "--quick").collect();
    if let Some(unknown) = names.iter().find(|name| GROUPS.iter().all(|group| group.name != **name)) {
        eprint!("bench: `{unknown}` is no row\n\n{}", help());
        return ExitCode::from(2);
    }
    let chosen =
        GROUPS.iter().filter(|group| names.is_empty() || names.iter().any(|name| *name == group.name));
    ended(measure(chosen, quick))
}

fn ended(measured: Result<usize>) -> ExitCode {
    match measured {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failures) => {
            eprintln!("bench: {failures} of the measurements failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("bench: prepare the measurements: {error}");
            ExitCode::FAILURE
        }
    }
}

fn help() -> String {
    let rows = GROUPS.iter().map(|group| format!("  {:<13} {}\n", group.name, group.about));
    format!(
        "Usage: cargo xtask bench [--quick] [ROW…]\n\n{}\nWith --quick there are fewer rounds, blocks and sessions.\n",
        rows.collect::<String>()
    )
}

/// Measures the groups, prints the table and returns how many failed.
fn measure<'a>(groups: impl Iterator<Item = &'a Group>, quick: bool) -> Result<usize> {
    let workbench = Workbench::new(quick)?;
    let mut table = Table::default();
    let mut failures = 0;
    for group in groups {
        eprintln!("bench: {} …", group.about);
        match (group.measure)(&workbench) {
            Ok(rows) => table.extend(rows),
            Err(error) => {
                failures += 1;
                eprintln!("bench: {} failed: {error}", group.name);
                table.extend([Row::new(group.about, format!("failed: {error}"))]);
                // Its sessions were dropped, and end beside whatever is measured next.
                procfs::wait_for_no_children(Duration::from_secs(20))?;
            }
        }
    }
    print!("{table}");
    Ok(failures)
}
