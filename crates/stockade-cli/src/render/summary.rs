//! The summary at the end of a run: one line a block, when there are several, and one for all. Owns how an
//! outcome is said in a few words.

use std::{fmt::Write, time::Duration};

use stockade::{BlockOutcome, Change, Status};

use super::{BAD, DIM, GOOD, PLAIN};
use crate::{report::Report, table::Table, terminal::visible};

/// More files than these are counted, not named.
const NAMED_FILES: usize = 4;

/// The summary of a run whose blocks come from `origins`.
pub(super) fn summary(report: &Report, origins: &[String], files_stay: bool) -> String {
    let mut text = String::new();
    if origins.len() > 1 && !report.blocks.is_empty() {
        let mut table = Table::default();
        for block in &report.blocks {
            let origin = origins.get(block.index).map_or("", String::as_str);
            table.row(row(block, origin));
        }
        text.push_str(&table.to_string());
    }
    let made = report.blocks.iter().any(|block| !block.files.is_empty());
    let files = match report.blocks.as_slice() {
        [only] if origins.len() == 1 && made => format!("; files: {}", files(only)),
        _ => String::new(),
    };
    let fate = if made && !files_stay { "; files were temporary, -w DIR keeps them" } else { "" };
    let _ = writeln!(text, "{DIM}{}{files}{fate}{DIM:#}", end(report, origins.len()));
    text
}

fn row(block: &BlockOutcome, origin: &str) -> Vec<(anstyle::Style, String)> {
    let how = if block.exit_code == 0 { GOOD } else { BAD };
    vec![
        (DIM, (block.index + 1).to_string()),
        (PLAIN, visible(&block.language).into_owned()),
        (DIM, origin.to_owned()),
        (how, outcome(block)),
        (DIM, if block.status == Status::NotRun { String::new() } else { duration(block.duration) }),
        (PLAIN, files(block)),
    ]
}

/// How a block ended, in a few words.
fn outcome(block: &BlockOutcome) -> String {
    match block.status {
        Status::Exited if block.exit_code == 0 => "ok".to_owned(),
        Status::Exited => format!("exit code {}", block.exit_code),
        Status::Signaled => format!("ended by signal {}", block.signal.unwrap_or_default()),
        Status::TimedOut => "timed out".to_owned(),
        Status::Cancelled => "cancelled".to_owned(),
        Status::OutOfMemory => "out of memory".to_owned(),
        Status::NotRun if block.exit_code == 0 => "saved".to_owned(),
        _ => "not run".to_owned(),
    }
}

/// How the run ended, in one sentence.
fn end(report: &Report, total: usize) -> String {
    let reached = report.blocks.len();
    let time = duration(report.blocks.iter().map(|block| block.duration).sum());
    let failed: Vec<&BlockOutcome> = report.blocks.iter().filter(|block| block.exit_code != 0).collect();
    let all = if total == 1 { "1 block".to_owned() } else { format!("{total} blocks") };
    match failed.as_slice() {
        // The user left at a prompt, or a signal came there.
        [] if report.exit_code != 0 => format!("cancelled; {reached} of {all} in {time}"),
        [] if reached == total => format!("{all} in {time}"),
        [] => format!("{reached} of {all} in {time}"),
        [only] if total == 1 && only.status == Status::NotRun => outcome(only),
        [only] if total == 1 => format!("{} after {time}", outcome(only)),
        [.., last] if reached < total => {
            format!("block {} of {total}: {}; {} left out", last.index + 1, outcome(last), total - reached)
        }
        failed => format!("{} of {all} failed, in {time}", failed.len()),
    }
}

/// The files that a block made, changed or deleted, by name.
fn files(block: &BlockOutcome) -> String {
    let mut names: Vec<String> = block
        .files
        .iter()
        .take(NAMED_FILES)
        .map(|file| {
            let fate = if file.change == Change::Deleted { " (deleted)" } else { "" };
            format!("{}{fate}", visible(&file.path.to_string_lossy()))
        })
        .collect();
    match block.files.len().saturating_sub(NAMED_FILES) {
        0 if block.files_truncated => names.push("and maybe more".to_owned()),
        0 => {}
        more => names.push(format!("and {more} more")),
    }
    names.join(", ")
}

/// A duration as people say it.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match duration.as_millis() {
        0..10 => format!("{:.1} ms", seconds * 1e3),
        10..1000 => format!("{} ms", duration.as_millis()),
        1000..10_000 => format!("{seconds:.2} s"),
        10_000..60_000 => format!("{seconds:.1} s"),
        _ => format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_any_size() {
        let said: Vec<String> = [0, 12, 999, 1_234, 12_345, 59_999, 60_000, 3_725_000]
            .map(|milliseconds| duration(Duration::from_millis(milliseconds)))
            .into();
        assert_eq!(
            said,
            ["0.0 ms", "12 ms", "999 ms", "1.23 s", "12.3 s", "60.0 s", "1 min 0 s", "62 min 5 s"]
        );
    }
}
