//! What the trials at each level of the local sandbox mean. Owns the verdicts and their words: a denial counts only
//! beside a trial that got out where nothing held it, and beside what is allowed in the sandbox itself.

mod kernel;

use std::time::Duration;

pub(super) use self::kernel::kernel;
use super::{
    Finding, State, Subject,
    local::{RUNNER, Tried},
    trial::{Attempt, Refusal, SHELL, TEMPORARY, Trial},
};

/// The control that says whether sessions start at a level.
pub(super) const START: &str = "start";

const REPORT: &str = "run code that you don't trust in a container only (`stockade run --docker`), and report this as \
    SECURITY.md says";
/// What is found of a control that no trial tells of.
const UNTRIED: &str = "could not be tried";
/// What to do where a block can't be asked for what the kernel says of it.
const PROC: &str = "`mount -t proc proc /proc`";

/// Something that a block is not to do.
pub(super) struct Denial {
    pub(super) control: &'static str,
    /// What, after "a block can".
    what: &'static str,
    done: fn(&Trial) -> bool,
    /// What is allowed beside it, after "it can".
    allowed: &'static str,
    is_allowed: fn(&Trial) -> bool,
    /// What lets it be tried where it can't be.
    remedy: &'static str,
}

pub(super) const FILES: Denial = Denial {
    control: "files",
    what: "read or change a private file of this host",
    done: |trial| trial.took_file,
    allowed: "use a file of its own",
    is_allowed: Trial::uses_own_file,
    remedy: TEMPORARY,
};
pub(super) const NETWORK: Denial = Denial {
    control: "network",
    what: "connect to a port of this host",
    done: |trial| trial.connected,
    allowed: "run the program that tried",
    is_allowed: |trial| trial.client().is_some(),
    remedy: "`apt-get install bash` where the code runs, for the trial to connect with",
};
pub(super) const PROCESSES: Denial = Denial {
    control: "other processes",
    what: "signal a process of this host",
    done: |trial| trial.signaled,
    allowed: "signal itself",
    is_allowed: Trial::signals_itself,
    remedy: SHELL,
};
const CALLS: Denial = Denial {
    control: "system calls",
    what: "make a setuid file",
    done: Trial::makes_setuid,
    allowed: "set other permissions",
    is_allowed: Trial::changes_mode,
    remedy: "run stockade where nothing filters its own system calls: a container that it is in, for one, can be started \
             with `--security-opt seccomp=unconfined`",
};

/// Of local sessions, at whatever level.
pub(super) fn sessions(tried: &Tried) -> Vec<Finding> {
    vec![runner(&tried.plain), sandbox(tried)]
}

/// Of both levels.
pub(super) fn findings(tried: &Tried) -> Vec<Finding> {
    let plain = tried.plain_trial();
    let namespaces = level(Subject::Namespaces, &tried.namespaces, plain);
    [namespaces, level(Subject::Landlock, &tried.landlock, plain)].concat()
}

fn runner(plain: &Result<Attempt, Refusal>) -> Finding {
    match plain {
        Ok(attempt) => Finding::enforced(Subject::Local, RUNNER, speed(attempt)),
        Err(Refusal { why, fix, .. }) => {
            Finding::lacking(Subject::Local, RUNNER, State::Absent, "no block of sh runs", why, fix)
        }
    }
}

pub(super) fn speed(attempt: &Attempt) -> String {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "starts in {:.0} ms, runs a block of sh in {:.1} ms",
        milliseconds(attempt.start),
        milliseconds(attempt.block)
    )
}

/// What a session has by default.
fn sandbox(tried: &Tried) -> Finding {
    const NAME: &str = "sandbox";
    let lacking = |state, detail: &str, refusal: &Refusal| {
        Finding::lacking(Subject::Local, NAME, state, detail, &refusal.why, &refusal.fix)
    };
    match (&tried.namespaces, &tried.landlock) {
        (Ok(_), _) => Finding::enforced(Subject::Local, NAME, "sessions start in namespaces by default"),
        (Err(refusal), Ok(_)) => {
            lacking(State::Degraded, "sessions start with Landlock and seccomp alone by default", refusal)
        }
        (Err(refusal), _) if refusal.untried => {
            lacking(State::Degraded, "sessions start, and could not be tried in", refusal)
        }
        (Err(refusal), Err(_)) => {
            lacking(State::Absent, "sessions start only without one, when that is asked for", refusal)
        }
    }
}

fn level(subject: Subject, tried: &Result<Attempt, Refusal>, plain: Option<&Trial>) -> Vec<Finding> {
    let attempt = match tried {
        Ok(attempt) => attempt,
        Err(Refusal { why, fix, untried }) => {
            let (state, refused) = match untried {
                true => (State::Degraded, "a session could not be tried in"),
                false => (State::Absent, "no session starts at this level"),
            };
            return vec![Finding::lacking(subject, START, state, refused, why, fix)];
        }
    };
    let trial = &attempt.trial;
    let denials = [FILES, NETWORK, PROCESSES, CALLS].map(|denial| denial.judge(subject, plain, trial));
    let start = Finding::enforced(subject, START, speed(attempt));
    [start].into_iter().chain(denials).chain([privileges(subject, trial)]).collect()
}

impl Denial {
    /// Whether a block is kept from it. `plain` is what one can do that nothing holds.
    pub(super) fn judge(&self, subject: Subject, plain: Option<&Trial>, trial: &Trial) -> Finding {
        let Self { control, what, allowed, .. } = self;
        let lacking = |state, detail: String, why: String, fix: &str| {
            Finding::lacking(subject, control, state, detail, why, fix)
        };
        if (self.done)(trial) {
            let why = "it was tried, and nothing kept the block from it".to_owned();
            return lacking(State::Absent, format!("a block can {what}"), why, REPORT);
        }
        if !plain.is_some_and(self.done) {
            let why = format!("where nothing holds a block it could not {what} either");
            return lacking(State::Degraded, UNTRIED.to_owned(), why, self.remedy);
        }
        if !(self.is_allowed)(trial) {
            let why = format!("it could not {allowed} either, so that this tells nothing");
            return lacking(State::Degraded, UNTRIED.to_owned(), why, self.remedy);
        }
        Finding::enforced(subject, control, format!("a block can't {what}, and can {allowed}"))
    }
}

fn privileges(subject: Subject, trial: &Trial) -> Finding {
    const NAME: &str = "privileges";
    match (trial.status("NoNewPrivs"), trial.status("CapEff")) {
        (Some(1), Some(0)) => Finding::enforced(subject, NAME, "a block has no capabilities and gets none"),
        (Some(_), Some(_)) => {
            let why = "its process has capabilities, or can get them by a setuid program";
            Finding::lacking(subject, NAME, State::Absent, "a block has privileges", why, REPORT)
        }
        _ => {
            let why = "the block could not read /proc/self/status";
            Finding::lacking(subject, NAME, State::Degraded, UNTRIED, why, PROC)
        }
    }
}

#[cfg(test)]
mod tests;
