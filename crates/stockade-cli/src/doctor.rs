//! `stockade doctor`: what this machine can hold code to. Owns the table and the exit status; what is found, and how it
//! is tried, is the library's part.

mod wrap;

use std::io;

use anstyle::{AnsiColor, Style};
use rustix::termios::tcgetwinsize;
use serde::Serialize;
use stockade::{Examination, Finding, State, Subject};

use self::wrap::wrap;
use crate::{
    args::DoctorArgs,
    error::{EXIT_FAILURE, Error},
    render::{self, BAD, BOLD, DIM, GOOD, PLAIN},
    runtime,
    table::Table,
    terminal::visible,
};

const DEGRADED: Style = AnsiColor::Yellow.on_default();

/// Lines are no longer than this, on wider terminals too.
const WIDTH: usize = 100;
/// What stands beside the columns has this much room, whatever the terminal.
const LEAST: usize = 30;
/// The longest state.
const STATE: usize = "enforced".len();
/// Between two columns of a table.
const GAP: usize = 2;

/// Code runs here, and nothing holds it.
const EXIT_UNSANDBOXED: u8 = 1;

/// All that was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Findings {
    version: &'static str,
    can_run_sandboxed: bool,
    can_run: bool,
    findings: Vec<Finding>,
}

/// Prints what this machine can do. The exit status is 0 when code can be run sandboxed in at least one way, 1 when it
/// can be run only without a sandbox, and 70 when it can't be run at all.
pub(crate) fn doctor(args: &DoctorArgs) -> u8 {
    let mut examination = Examination::default();
    if let Some(address) = &args.docker_host {
        examination = examination.daemon(address);
    }
    if let Some(image) = &args.image {
        examination = examination.image(image);
    }
    let examined = runtime::block_on(examination.run());
    let shown = examined.and_then(|findings| {
        let findings = Findings::new(findings);
        show(&findings, args.json)?;
        Ok(findings.exit_status())
    });
    shown.unwrap_or_else(|error| render::status(Err(error)))
}

impl Findings {
    fn new(findings: Vec<Finding>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            can_run_sandboxed: Finding::can_run_sandboxed(&findings),
            can_run: Finding::can_run(&findings),
            findings,
        }
    }

    fn exit_status(&self) -> u8 {
        match (self.can_run_sandboxed, self.can_run) {
            (true, _) => 0,
            (false, true) => EXIT_UNSANDBOXED,
            (false, false) => EXIT_FAILURE,
        }
    }

    /// As `30 enforced, 2 degraded; 13 of 18 languages run.`
    fn counts(&self) -> String {
        let states = [State::Enforced, State::Degraded, State::Absent];
        let (languages, controls): (Vec<_>, Vec<_>) =
            self.findings.iter().partition(|finding| finding.subject == Subject::Interpreters);
        let of = |state| controls.iter().filter(|finding| finding.state == state).count();
        let counted =
            states.map(|state| (of(state), word(state).1)).into_iter().filter(|(count, _)| *count > 0);
        let counted: Vec<String> = counted.map(|(count, state)| format!("{count} {state}")).collect();
        let run = languages.iter().filter(|finding| finding.state != State::Absent).count();
        format!("{}; {run} of {} languages run.", counted.join(", "), languages.len())
    }

    fn verdict(&self) -> (Style, &'static str) {
        match self.exit_status() {
            0 => (GOOD, "Code can be run sandboxed here."),
            EXIT_UNSANDBOXED => (BAD, "Code can be run here only without a sandbox."),
            _ => (BAD, "Code can't be run here."),
        }
    }
}

fn show(findings: &Findings, json: bool) -> Result<(), Error> {
    if json { render::print_json(findings) } else { render::print_text(&text(findings, width())) }
}

/// How long lines may be.
fn width() -> usize {
    let terminal = tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    terminal.filter(|columns| *columns > 0).map_or(WIDTH, |columns| columns.min(WIDTH))
}

fn title(subject: Subject) -> &'static str {
    match subject {
        Subject::Machine => "This machine",
        Subject::Limits => "Limits of local sessions",
        Subject::Local => "Local sessions",
        Subject::Namespaces => "Sandbox of namespaces",
        Subject::Landlock => "Sandbox of Landlock alone",
        Subject::Docker => "Docker",
        Subject::Podman => "Podman",
        Subject::Interpreters => "Interpreters",
        _ => "Others",
    }
}

fn text(findings: &Findings, width: usize) -> String {
    let mut text = format!("{BOLD}Stockade {}{BOLD:#}\n", findings.version);
    for part in findings.findings.chunk_by(|one, other| one.subject == other.subject) {
        let controls = part.iter().map(|finding| finding.control.chars().count()).max().unwrap_or_default();
        let room = width.saturating_sub(controls + STATE + 2 * GAP).max(LEAST);
        let mut table = Table::default();
        for (finding, next) in part.iter().zip(part.iter().skip(1).map(Some).chain([None])) {
            // What several in a row have in common is told once, after the last.
            let goes_on = next.is_some_and(|next| (&next.why, &next.fix) == (&finding.why, &finding.fix));
            add(&mut table, finding, room, !goes_on);
        }
        let title = title(part[0].subject);
        text.push_str(&format!("\n{BOLD}{title}{BOLD:#}\n{table}"));
    }
    let (style, verdict) = findings.verdict();
    text.push_str(&format!("\n{style}{verdict}{style:#} {}\n", findings.counts()));
    text
}

fn word(state: State) -> (Style, &'static str) {
    match state {
        State::Enforced => (GOOD, "enforced"),
        State::Degraded => (DEGRADED, "degraded"),
        State::Absent => (BAD, "absent"),
    }
}

/// Adds a finding, whose texts have lines of `room` characters, with or without why and the fix.
fn add(table: &mut Table, finding: &Finding, room: usize, is_explained: bool) {
    let state = match (finding.subject, finding.state) {
        // That a language is not installed is nothing to be alarmed at.
        (Subject::Interpreters, State::Enforced) => (GOOD, "found"),
        (Subject::Interpreters, State::Absent) => (DIM, "missing"),
        (_, state) => word(state),
    };
    let mut rows = |label: (Style, &str), mut control: &str, style: Style, said: &str| {
        let mut label = (label.0, label.1.to_owned());
        for line in said.lines().flat_map(|line| wrap(&visible(line), room)) {
            table.row(vec![(PLAIN, control.to_owned()), label, (style, line)]);
            (control, label) = ("", (PLAIN, String::new()));
        }
    };
    rows(state, &finding.control, PLAIN, &finding.detail);
    let explained = [("why", &finding.why), ("fix", &finding.fix)];
    for (label, said) in explained.into_iter().filter(|_| is_explained) {
        said.iter().for_each(|said| rows((DIM, label), "", DIM, said));
    }
}

#[cfg(test)]
mod tests;
