//! `stockade doctor`: what this machine can do. Owns the checks' words and their printing. It believes no
//! version number: each check tries the thing itself, as `probe` does, and says how to fix what is missing.

mod probe;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::{
    args::FormatArgs,
    error::{EXIT_FAILURE, Error},
    render::{self, BAD, BOLD, DIM, GOOD, PLAIN},
    runtime,
    table::Table,
    terminal::visible,
};

const DEGRADED: Style = AnsiColor::Yellow.on_default();

/// How far a property holds on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It holds.
    Enforced,
    /// Something else stands in for it.
    Degraded,
    /// It does not hold.
    Absent,
}

/// One property and how it was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    /// What was found.
    detail: String,
    /// What to do about it.
    fix: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, detail: impl Into<String>) -> Self {
        Self { name, state, detail: detail.into(), fix: None }
    }

    fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

/// What runs a language here.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Interpreter {
    language: String,
    path: Option<String>,
    /// The first line of what it says about its version.
    version: Option<String>,
}

/// All that was found.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Findings {
    version: &'static str,
    kernel: String,
    checks: Vec<Check>,
    interpreters: Vec<Interpreter>,
}

impl Findings {
    /// Whether a block ran.
    fn can_run(&self) -> bool {
        self.checks.iter().all(|check| check.name != probe::RUNNER || check.state != State::Absent)
    }
}

/// Prints what this machine can do; the exit status is 0 when blocks can run at all.
pub(crate) fn doctor(args: &FormatArgs) -> u8 {
    match runtime::block_on(probe::findings()).and_then(|findings| {
        show(&findings, args.json)?;
        Ok(findings.can_run())
    }) {
        Ok(true) => 0,
        Ok(false) => EXIT_FAILURE,
        Err(error) => render::status(Err(error)),
    }
}

fn show(findings: &Findings, json: bool) -> Result<(), Error> {
    if json { render::print_json(findings) } else { render::print_text(&text(findings)) }
}

fn text(findings: &Findings) -> String {
    let mut checks = Table::default();
    for check in &findings.checks {
        let (style, state) = match check.state {
            State::Enforced => (GOOD, "enforced"),
            State::Degraded => (DEGRADED, "degraded"),
            State::Absent => (BAD, "absent"),
        };
        let mut detail = check.detail.lines();
        let first = detail.next().unwrap_or_default();
        checks.row(vec![
            (PLAIN, check.name.to_owned()),
            (style, state.to_owned()),
            (PLAIN, visible(first).into_owned()),
        ]);
        for line in detail {
            checks.row(vec![
                (PLAIN, String::new()),
                (PLAIN, String::new()),
                (PLAIN, visible(line).into_owned()),
            ]);
        }
        if let Some(fix) = &check.fix {
            checks.row(vec![
                (PLAIN, String::new()),
                (DIM, "fix".to_owned()),
                (DIM, visible(fix).into_owned()),
            ]);
        }
    }
    let mut interpreters = Table::default();
    for interpreter in &findings.interpreters {
        let path = interpreter
            .path
            .as_deref()
            .map_or((DIM, "not found".into()), |path| (PLAIN, visible(path).into_owned()));
        let version = interpreter.version.as_deref().map(visible).unwrap_or_default().into_owned();
        interpreters.row(vec![(PLAIN, interpreter.language.clone()), path, (DIM, version)]);
    }
    format!(
        "{BOLD}Stockade {} on {}{BOLD:#}\n\n{checks}\n{BOLD}Interpreters{BOLD:#}\n{interpreters}",
        findings.version,
        visible(&findings.kernel)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(runner: State) -> Findings {
        Findings {
            version: "0.1.0",
            kernel: "Linux 6.1.0".to_owned(),
            checks: vec![
                Check::new(probe::RUNNER, runner, "starts in 3 ms"),
                Check::new("sandbox", State::Absent, "none").fix("run only what you trust"),
                Check::new("docker", State::Absent, "tried\n  /a: no\n  /b: no").fix("start one"),
            ],
            interpreters: vec![
                Interpreter {
                    language: "python".into(),
                    path: Some("/usr/bin/python3".into()),
                    version: Some("Python 3.13.5".into()),
                },
                Interpreter { language: "zsh".into(), path: None, version: None },
            ],
        }
    }

    #[test]
    fn table_names_each_state_and_its_fix() {
        let text = anstream::adapter::strip_str(&text(&findings(State::Enforced))).to_string();
        insta::assert_snapshot!(text, @r"
        Stockade 0.1.0 on Linux 6.1.0

        runner   enforced  starts in 3 ms
        sandbox  absent    none
                 fix       run only what you trust
        docker   absent    tried
                             /a: no
                             /b: no
                 fix       start one

        Interpreters
        python  /usr/bin/python3  Python 3.13.5
        zsh     not found
        ");
    }

    #[test]
    fn machine_that_can_not_run_a_block_is_a_failure() {
        assert!(findings(State::Enforced).can_run());
        assert!(!findings(State::Absent).can_run());
    }
}
