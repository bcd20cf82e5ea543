//! Signals to the runner and reports of its keepers. Owns reaping the runner's children.

use std::io;

use rustix::process::{Signal, kill_process};

use super::{End, Engine, Handled};
use crate::{
    keeper::Report,
    os::{process, signals},
    wire::message::RunId,
};

impl Engine {
    pub(super) fn take_signals(&mut self) -> Handled {
        while let Some(signal) = signals::next(&self.signals) {
            if signal != libc::SIGCHLD {
                return Err(End::Signal);
            }
        }
        let mut reaped = false;
        while let Ok(Some(ended)) = process::wait_any() {
            reaped = true;
            if let Some(keeper) = self.keepers.with_pid(ended.pid) {
                self.keeper_died(keeper)?;
            }
        }
        // A keeper's channel closes before its children fall to us, so look again when it has been reaped.
        if reaped {
            self.end_strays();
        }
        Ok(())
    }

    pub(super) fn hear_keeper(&mut self, id: u64) -> Handled {
        while let Some(kept) = self.keepers.get(id) {
            let run = kept.run;
            match kept.keeper.report() {
                Ok(Some(report)) => self.take_report(id, run, report)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(None) | Err(_) => {
                    // It may be about to end, or live on with a broken channel.
                    let _ = kill_process(kept.keeper.pid, Signal::KILL);
                    return self.keeper_died(id);
                }
            }
        }
        Ok(())
    }

    fn take_report(&mut self, keeper: u64, run: Option<RunId>, report: Report) -> Handled {
        let active = run.filter(|run| self.runs.contains_key(run));
        if let (None, Some(run)) = (active, run) {
            self.spare_ended(run);
        }
        match (report, active) {
            (Report::NotSpawned { stage, errno }, Some(run)) => {
                self.keepers.give_back(keeper);
                self.not_spawned(run, stage, errno)
            }
            (Report::Ended { childless, .. }, Some(run)) => {
                if childless {
                    self.keepers.give_back(keeper);
                }
                self.process_ended(run, report, childless)
            }
            (Report::Childless, active) => {
                self.keepers.give_back(keeper);
                active.map_or(Ok(()), |run| self.finish(run, Vec::new()))?;
                self.admit()
            }
            // A report on a run that was given up.
            (Report::Ended { childless: true, .. } | Report::NotSpawned { .. }, None) => {
                self.keepers.give_back(keeper);
                Ok(())
            }
            (_, None) => Ok(()),
        }
    }
}
