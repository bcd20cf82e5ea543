//! The guard against regressions, which every run of `.ci/run` passes: what Stockade costs beside bare processes in the same
//! moment. Owns the limits. They are ratios, far from what is measured on a quiet machine, and one of a few tries has to
//! keep each, so that what fails is a change and no hour.

use crate::{
    blocks, sessions,
    statistics::Pair,
    workbench::{Result, Workbench},
};

/// How often a ratio may be measured before it counts as too high.
const TRIES: usize = 3;

struct Guard {
    what: &'static str,
    /// The most that Stockade's time may be of the bare one.
    most: f64,
    measure: fn(&Workbench) -> Result<Pair>,
}

const GUARDS: &[Guard] = &[
    // 1.2 where both processors are free.
    Guard { what: "`sh` block of `true`", most: 2.5, measure: blocks::sh_pair },
    // 1.1
    Guard { what: "16 `sh` blocks at once", most: 2.5, measure: blocks::width_pair },
    // 0.2, and 0.05 where the interpreter is slow to start.
    Guard { what: "`python` block of `pass`, a spare ready", most: 0.7, measure: blocks::spared_pair },
    // 0.1
    Guard { what: "`python` block with imports, preloaded", most: 0.5, measure: blocks::preloaded_pair },
    // 1.4
    Guard { what: "start of a session", most: 5.0, measure: sessions::start_pair },
];

/// Measures all, and gives how many are too high.
pub(crate) fn keep_watch(workbench: &Workbench) -> Result<usize> {
    let mut failures = 0;
    for guard in GUARDS {
        failures += usize::from(!guard.is_kept(workbench)?);
    }
    Ok(failures)
}

impl Guard {
    fn is_kept(&self, workbench: &Workbench) -> Result<bool> {
        for _ in 0..TRIES {
            let pair = (self.measure)(workbench)?;
            let (ratio, Self { what, most, .. }) = (1.0 / pair.rate_ratio(), self);
            println!("{what}: {ratio:.2} times the time of its bare counterpart, at most {most}");
            if ratio <= self.most {
                return Ok(true);
            }
        }
        eprintln!("bench: {} takes more than {} times the bare time, {TRIES} times", self.what, self.most);
        Ok(false)
    }
}
