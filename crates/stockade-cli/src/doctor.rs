//! `stockade doctor`: what this machine can hold code to. Owns the table and the exit status; what is found, and how it
//! is tried, is the library's part.

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use stockade::{Examination, Finding, State, Subject};

use crate::{
    args::DoctorArgs,
    error::{EXIT_FAILURE, Error},
    render::{self, BAD, BOLD, DIM, GOOD, PLAIN},
    runtime,
    table::Table,
    terminal::visible,
};

const DEGRADED: Style = AnsiColor::Yellow.on_default();

/// Code runs here, and nothing holds it.
const EXIT_UNSANDBOXED: u8 = 1;

/// All that was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Findings {
    version: &'static str,
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
        let findings = Findings { version: env!("CARGO_PKG_VERSION"), findings };
        show(&findings, args.json)?;
        Ok(findings.exit_status())
    });
    shown.unwrap_or_else(|error| render::status(Err(error)))
}

impl Findings {
    fn exit_status(&self) -> u8 {
        match (Finding::can_run_sandboxed(&self.findings), Finding::can_run(&self.findings)) {
            (true, _) => 0,
            (false, true) => EXIT_UNSANDBOXED,
            (false, false) => EXIT_FAILURE,
        }
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
    if json { render::print_json(findings) } else { render::print_text(&text(findings)) }
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

fn text(findings: &Findings) -> String {
    let mut text = format!("{BOLD}Stockade {}{BOLD:#}\n", findings.version);
    for part in findings.findings.chunk_by(|one, other| one.subject == other.subject) {
        let mut table = Table::default();
        for finding in part {
            add(&mut table, finding);
        }
        let title = title(part[0].subject);
        text.push_str(&format!("\n{BOLD}{title}{BOLD:#}\n{table}"));
    }
    let (style, verdict) = findings.verdict();
    text.push_str(&format!("\n{style}{verdict}{style:#}\n"));
    text
}

fn add(table: &mut Table, finding: &Finding) {
    let state = match finding.state {
        State::Enforced => (GOOD, "enforced"),
        State::Degraded => (DEGRADED, "degraded"),
        State::Absent => (BAD, "absent"),
    };
    let mut rows = |label: (Style, &str), mut control: &str, style: Style, said: &str| {
        let mut label = (label.0, label.1.to_owned());
        for line in said.lines() {
            table.row(vec![(PLAIN, control.to_owned()), label, (style, visible(line).into_owned())]);
            (control, label) = ("", (PLAIN, String::new()));
        }
    };
    rows(state, &finding.control, PLAIN, &finding.detail);
    for (label, said) in [("why", &finding.why), ("fix", &finding.fix)] {
        if let Some(said) = said {
            rows((DIM, label), "", DIM, said);
        }
    }
}

#[cfg(test)]
mod tests;
