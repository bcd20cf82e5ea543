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
            self.server_ended(&ended)?;
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
        loop {
            match self.keepers.report(id) {
                Ok(Some(report)) => {
                    let run = self.keepers.get(id).and_then(|kept| kept.run);
                    self.take_report(id, run, report)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(None) | Err(_) => {
                    // It may be about to end, or live on with a broken channel.
                    if let Some(pid) = self.keepers.get(id).and_then(|kept| kept.keeper.pid) {
                        let _ = kill_process(pid, Signal::KILL);
                    }
                    return self.keeper_died(id);
                }
            }
        }
    }

    fn take_report(&mut self, keeper: u64, run: Option<RunId>, report: Report) -> Handled {
        let active = run.filter(|run| self.runs.contains_key(run));
        if let Report::Adopted = report {
            self.preload.server_works();
            // Among our children there may have been strays that could have been this one.
            self.end_strays();
            run.into_iter().for_each(|run| self.let_in(run));
            return Ok(());
        }
        if let (None, Some(run)) = (active, run) {
            self.take_report_of_own(run, report)?;
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
            // A report on a run that was given up, or on what is none.
            (
                Report::Ended { childless: true, .. } | Report::NotSpawned { .. } | Report::Spawned { .. },
                None,
            ) => {
                self.keepers.give_back(keeper);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Of a process that is no run's: a spare, or the server.
    fn take_report_of_own(&mut self, run: RunId, report: Report) -> Handled {
        match report {
            Report::Spawned { pid } => self.server_spawned(run, pid),
            Report::NotSpawned { .. } if self.is_server(run) => self.server_failed("it could not be started"),
            _ => {
                self.spare_ended(run);
                Ok(())
            }
        }
    }
}
