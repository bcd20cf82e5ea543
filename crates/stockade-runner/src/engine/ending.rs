//! How runs and the session end. Owns the steps from a deadline or a cancel to the last process's end, the
//! drain of what was printed, and the end of everything, after which what was made is handed over.

use std::{
    collections::HashSet,
    io,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, getpid, kill_process},
};

use super::{
    Engine, Handled, Session,
    run::{Phase, Purpose, Reason, Run},
};
use crate::{
    handover::Handover,
    keeper::Report,
    os::process,
    outcome::{Outcome, Status},
    removal, tree,
    wire::message::{Piece, Reply, RunId, Stream},
};

/// From asking a tree to end until it is killed (contract, line 4).
const GRACE: Duration = Duration::from_secs(1);
/// How soon a tree is asked again that had no process yet.
const ASK_AGAIN: Duration = Duration::from_millis(2);
/// From killing a tree until it is given up. With the grace this stays within the 2 s of the contract.
const END_OF_KILLED: Duration = Duration::from_millis(500);
/// Then it is killed once more, and this is what a process that can be ended needs for its end.
const END_OF_GIVEN_UP: Duration = Duration::from_millis(100);
/// The grace when the session ends, where nobody waits for the output of what is left.
const GRACE_AT_STOP: Duration = Duration::from_millis(100);
const END_AT_STOP: Duration = Duration::from_secs(1);
/// How long the last message waits for a host that does not read.
const GOODBYE: Duration = Duration::from_secs(1);
/// Output that goes into one message.
const OUTPUT_FRAME: usize = 256 << 10;

impl Engine {
    pub(super) fn cancel(&mut self, id: RunId) -> Handled {
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.spec.run == id) {
            return self.cancel_waiting(place);
        }
        match self.runs.get(&id).map(|run| run.phase) {
            Some(Phase::Running { .. }) => self.terminate(id, Reason::Cancelled),
            _ => Ok(()),
        }
    }

    fn cancel_waiting(&mut self, place: usize) -> Handled {
        let Some(waiting) = self.waiting.remove(place) else { return Ok(()) };
        let notice = "Cancelled: the block had not started".to_owned();
        let outcome = Outcome::without_process(&waiting.spec.language, Status::Cancelled, None, notice);
        Ok(self.link.send(&Reply::Finished { run: waiting.spec.run, result: Ok(outcome) })?)
    }

    /// Takes the next step towards a run's end: its time is up.
    pub(super) fn advance_ending(&mut self, id: RunId) -> Handled {
        match self.runs.get(&id).map(|run| run.phase) {
            None => Ok(()),
            Some(Phase::Running { .. }) => self.terminate(id, Reason::TimedOut),
            Some(Phase::Terminated { why, until, again: Some(_) }) => self.ask_to_end(id, why, until),
            Some(Phase::Terminated { why, .. }) => self.kill(id, why),
            Some(Phase::Killed { .. }) => self.give_up(id),
        }
    }

    fn terminate(&mut self, id: RunId, why: Reason) -> Handled {
        self.ask_to_end(id, why, Instant::now() + GRACE)
    }

    fn ask_to_end(&mut self, id: RunId, why: Reason, until: Instant) -> Handled {
        let asked = tree::terminate(&self.keeper_of(id));
        let again = Some(Instant::now() + ASK_AGAIN).filter(|again| !asked && *again < until);
        self.set_phase(id, Phase::Terminated { why, until, again })
    }

    fn kill(&mut self, id: RunId, why: Reason) -> Handled {
        let keeper = self.keeper_of(id);
        tree::kill(&keeper, || tree::descendants(&keeper));
        self.set_phase(id, Phase::Killed { why, until: Instant::now() + END_OF_KILLED })
    }

    fn set_phase(&mut self, id: RunId, phase: Phase) -> Handled {
        if let Some(run) = self.runs.get_mut(&id) {
            run.phase = phase;
        }
        Ok(())
    }

    /// The keeper has not said that its tree has ended: it was stopped or killed itself, or a process can't be
    /// ended.
    fn give_up(&mut self, id: RunId) -> Handled {
        let keeper = self.keeper_of(id);
        tree::kill(&keeper, || tree::descendants(&keeper));
        let alive = || tree::alive(tree::descendants(&keeper));
        wait_until(END_OF_GIVEN_UP, || alive().is_empty());
        let survivors = to_numbers(alive());
        let keeper = self.runs.get(&id).map(|run| run.keeper);
        let kept = keeper.and_then(|keeper| self.keepers.remove(keeper));
        if let Some(pid) = kept.and_then(|kept| kept.keeper.pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.finish(id, survivors)
    }

    fn keeper_of(&self, id: RunId) -> Vec<Pid> {
        let kept = self.runs.get(&id).and_then(|run| self.keepers.get(run.keeper));
        kept.and_then(|kept| kept.keeper.pid).into_iter().collect()
    }

    /// The block's own process has ended. That is the run's end, unless we are ending its whole tree.
    pub(super) fn process_ended(&mut self, id: RunId, report: Report, childless: bool) -> Handled {
        let Some(run) = self.runs.get_mut(&id) else { return Ok(()) };
        if run.never_began() {
            return self.start_again(id);
        }
        run.process_ended(report);
        if childless || run.phase.reason().is_none() {
            self.finish(id, Vec::new())?;
        }
        Ok(())
    }

    /// A keeper is gone: nobody of ours kills one that holds a run. What it held is ours to end now.
    pub(super) fn keeper_died(&mut self, keeper: u64) -> Handled {
        let Some(kept) = self.keepers.remove(keeper) else { return Ok(()) };
        self.end_strays();
        let Some(run) = kept.run else { return Ok(()) };
        if self.is_server(run) {
            return self.server_failed("it could not be started");
        }
        self.spare_ended(run);
        match self.runs.get(&run).map(Run::never_began) {
            Some(true) => self.start_again(run),
            Some(false) => self.finish(run, Vec::new()),
            None => Ok(()),
        }
    }

    /// Ends every child of the runner that is not one of its own processes, and all below: their keeper was killed.
    pub(super) fn end_strays(&self) {
        // One of ours may be among them, and is known soon.
        if self.keepers.expects_any() || self.preload.is_unknown() {
            return;
        }
        let own = self.own_pids();
        let strays = || tree::children(getpid()).into_iter().filter(|child| !own.contains(child));
        let with_descendants = || {
            let strays: Vec<Pid> = strays().collect();
            let below = tree::descendants(&strays);
            [strays, below].concat()
        };
        tree::kill(&[getpid()], with_descendants);
    }

    // The end of a run.

    /// Tells the host how a run ended, and lets go of everything that it held.
    pub(super) fn finish(&mut self, id: RunId, survivors: Vec<u32>) -> Handled {
        self.drain(id)?;
        if self.runs.get_mut(&id).and_then(Run::live_mut).is_some() {
            self.announce(id)?;
        }
        let Some(run) = self.runs.remove(&id) else { return Ok(()) };
        match &run.purpose {
            Purpose::Probe(_) => {
                self.finish_probe(run);
                self.start_server()?;
            }
            Purpose::Block(_) => {
                self.finish_block(run, survivors)?;
                self.renew_spares();
            }
        }
        self.admit()
    }

    /// Reads what is in the run's pipes at this moment. What background processes add later is not waited for.
    fn drain(&mut self, id: RunId) -> Handled {
        let pipes = self.runs.get(&id).map(|run| run.pipes.clone()).unwrap_or_default();
        for pipe in pipes {
            let mut left = self.pipes.get_mut(pipe).map_or(0, |pipe| pipe.pending());
            loop {
                // Once more than there were bytes, to see the end.
                let length = self.read_once(pipe, usize::MAX)?;
                if length == 0 || left == 0 {
                    break;
                }
                left = left.saturating_sub(length);
            }
            self.pipes.resume(pipe, &self.reactor);
        }
        Ok(())
    }

    fn finish_probe(&mut self, run: Run) {
        let printed: Vec<u8> = run.capture.into_pieces().iter().fold(Vec::new(), |mut printed, piece| {
            if let Piece::Data(Stream::Stdout, bytes) = piece {
                printed.extend_from_slice(bytes);
            }
            printed
        });
        if let Purpose::Probe(shim) = run.purpose {
            self.take_answer(shim, &printed);
        }
    }

    fn finish_block(&mut self, mut run: Run, survivors: Vec<u32>) -> Handled {
        let (id, mut session) = (run.id, self.session.as_mut());
        let Purpose::Block(block) = &run.purpose else { return Ok(()) };
        if let Some(Session { workspace, handover: Some(handover), .. }) = session.as_deref_mut() {
            // Before the scan, for it changes what the scan is to remember.
            handover.after_block(workspace.directory());
        }
        run.out_of_memory = run.was_killed()
            && session.as_deref().is_some_and(|session| session.out_of_memory_kills() > run.kills_before);
        let directory = session.map(|session| session.workspace.directory());
        let manifest = directory.map(|directory| self.scanner.scan(directory, &run.since, block.file.stamp));
        let outcome = run.outcome(block, manifest.unwrap_or_default(), survivors);
        let lost = block.live.as_ref().map_or(0, |live| live.lost);
        let capture = std::mem::take(&mut run.capture);
        if lost > 0 {
            self.link.send(&Reply::Live {
                run: id,
                stream: Stream::Stdout,
                data: Default::default(),
                lost,
            })?;
        }
        if let Purpose::Block(block) = run.purpose {
            self.removed.extend(block.file.release());
        }
        self.send_output(id, capture.into_pieces())?;
        Ok(self.link.send(&Reply::Finished { run: id, result: Ok(outcome) })?)
    }

    fn send_output(&mut self, run: RunId, pieces: Vec<Piece>) -> Handled {
        let mut batch = Vec::new();
        let mut size = 0;
        for piece in pieces.into_iter().flat_map(divide) {
            size += match &piece {
                Piece::Data(_, bytes) => bytes.len(),
                Piece::Dropped(..) => 0,
            };
            batch.push(piece);
            if size >= OUTPUT_FRAME {
                self.link.send(&Reply::Output { run, pieces: std::mem::take(&mut batch) })?;
                size = 0;
            }
        }
        if !batch.is_empty() {
            self.link.send(&Reply::Output { run, pieces: batch })?;
        }
        Ok(())
    }

    // The end of everything.

    /// Ends every process of the session. Gives what could not be ended.
    pub(super) fn end_everything(&mut self) -> Vec<u32> {
        while !self.waiting.is_empty() {
            let _ = self.cancel_waiting(0);
        }
        self.let_spares_go();
        self.let_server_go();
        self.end_trees();
        // One walk at the end is for all the runs that end here.
        let handover = self.session.as_mut().and_then(|session| session.handover.take());
        self.cancel_all();
        self.end_own();
        let own: HashSet<Pid> = self.own_pids().into_iter().collect();
        // Our own have been sent KILL; a machine that has not come to it yet will.
        let others = tree::descendants(&[getpid()]).into_iter().filter(|pid| !own.contains(pid));
        let survivors = to_numbers(tree::alive(others));
        if let Some(handover) = handover {
            self.hand_over(&handover);
        }
        survivors
    }

    /// Gives all that was made in the workspace to its owner, if it is to stay.
    fn hand_over(&mut self, handover: &Handover) {
        if let Some(session) = self.session.as_mut().filter(|session| !session.remove_workspace) {
            // It may have been replaced; one that is gone needs nothing.
            let _ = session.workspace.refresh();
            handover.at_end(session.workspace.directory());
        }
    }

    /// Removes what is the session's own: its scratch directory, and the workspace where that was asked for.
    pub(super) fn remove_directories(&mut self) {
        let Some(session) = self.session.take() else { return };
        let workspace = session.remove_workspace.then(|| session.workspace.path());
        for directory in session.scratch.as_deref().into_iter().chain(workspace) {
            let _ = removal::remove_all(directory);
        }
    }

    fn end_trees(&self) {
        let own: HashSet<Pid> = self.own_pids().into_iter().collect();
        let others = || {
            let all = tree::descendants(&[getpid()]).into_iter();
            all.filter(|pid| !own.contains(pid)).collect::<Vec<_>>()
        };
        if others().is_empty() {
            return;
        }
        tree::terminate(&self.own_pids());
        wait_until(GRACE_AT_STOP, || tree::alive(others()).is_empty());
        let roots: Vec<Pid> = own.iter().copied().chain([getpid()]).collect();
        tree::kill(&roots, others);
        wait_until(END_AT_STOP, || tree::alive(others()).is_empty());
    }

    /// Ends the runs that were in flight, as cancelled: what they ran is gone.
    fn cancel_all(&mut self) {
        let phase = Phase::Killed { why: Reason::Cancelled, until: Instant::now() };
        for id in self.runs.keys().copied().collect::<Vec<_>>() {
            let _ = self.set_phase(id, phase);
            let _ = self.finish(id, Vec::new());
        }
    }

    /// Ends keepers and zygote, and what a keeper started in its last moment, which is our child then; and waits
    /// for every child.
    fn end_own(&self) {
        for pid in self.own_pids() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let no_child = || loop {
            match process::wait_any() {
                Ok(Some(_)) => {}
                Ok(None) => {
                    tree::kill(&[getpid()], || tree::descendants(&[getpid()]));
                    return false;
                }
                Err(_) => return true,
            }
        };
        wait_until(END_AT_STOP, no_child);
    }

    /// Tells the host that everything has ended, and waits a little for it to read that.
    pub(super) fn say_goodbye(&mut self, survivors: Vec<u32>) {
        let until = Instant::now() + GOODBYE;
        if self.link.send(&Reply::Stopped { survivors }).is_err() {
            return;
        }
        while let Ok(false) = self.link.flush() {
            let left = until.saturating_duration_since(Instant::now());
            let mut room = [PollFd::new(&self.link.to_host, PollFlags::OUT)];
            let timeout = left.try_into().ok();
            if left.is_zero() || poll(&mut room, timeout.as_ref()).map_err(io::Error::from).is_err() {
                return;
            }
        }
    }
}

/// A piece in parts that fit into messages.
fn divide(piece: Piece) -> Vec<Piece> {
    match piece {
        Piece::Data(stream, bytes) if bytes.len() > OUTPUT_FRAME => {
            bytes.chunks(OUTPUT_FRAME).map(|part| Piece::Data(stream, part.to_vec().into())).collect()
        }
        piece => vec![piece],
    }
}

/// Asks again and again, for nothing tells when processes of others end.
fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !done() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn to_numbers(pids: Vec<Pid>) -> Vec<u32> {
    pids.into_iter().map(|pid| pid.as_raw_pid() as u32).collect()
}
