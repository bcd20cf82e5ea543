//! What blocks and what they left behind print. Owns the way of every byte that is read: into the run's capture,
//! to a host that listens, by credit, or into the count of the background.

use super::{
    End, Engine, Handled,
    admission::FIRST_OWN_RUN,
    pipes::Read,
    run::{Purpose, Run, to_bytes},
};
use crate::wire::message::{Reply, RunId, Stream};

impl Engine {
    pub(super) fn read_pipe(&mut self, id: u64) -> Handled {
        let run = self.pipes.get_mut(id).map(|pipe| pipe.run);
        let live = run.and_then(|run| self.runs.get_mut(&run)).and_then(Run::live_mut);
        match live.filter(|live| live.backpressure).map(|live| live.credit) {
            None => self.read_once(id, usize::MAX).map(drop),
            Some(0) => {
                self.pipes.pause(id, &self.reactor);
                Ok(())
            }
            Some(credit) => self.read_once(id, usize::try_from(credit).unwrap_or(usize::MAX)).map(drop),
        }
    }

    /// The host has room for more live output: a run that waited for that goes on.
    pub(super) fn take_credit(&mut self, id: RunId, bytes: u64) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        if let Some(live) = run.live_mut() {
            live.credit = live.credit.saturating_add(bytes);
        }
        run.pipes.iter().for_each(|pipe| self.pipes.resume(*pipe, &self.reactor));
    }

    /// Reads a pipe once, and gives how much was read.
    pub(super) fn read_once(&mut self, id: u64, at_most: usize) -> Result<u64, End> {
        let Some(pipe) = self.pipes.get_mut(id) else { return Ok(0) };
        let (run, stream) = (pipe.run, pipe.stream);
        let room = at_most.min(self.buffer.len());
        match pipe.read(&mut self.buffer[..room]) {
            Read::Bytes(length) => {
                self.take_output(id, run, stream, length)?;
                Ok(length as u64)
            }
            Read::Empty => Ok(0),
            Read::End => {
                let untold = std::mem::take(&mut pipe.untold);
                self.pipes.close(id);
                if untold > 0 {
                    self.link.send(&Reply::Background {
                        run,
                        stream,
                        bytes: untold,
                        data: Default::default(),
                    })?;
                }
                if let Some(run) = self.runs.get_mut(&run) {
                    run.pipes.retain(|pipe| *pipe != id);
                }
                Ok(0)
            }
        }
    }

    fn take_output(&mut self, pipe: u64, id: RunId, stream: Stream, length: usize) -> Handled {
        let Some(run) = self.runs.get_mut(&id) else {
            return self.take_background(pipe, id, stream, length);
        };
        run.capture.push(stream, &self.buffer[..length]);
        let Some(live) = run.live_mut() else { return Ok(()) };
        // Under backpressure no more is read than there is credit for, but for the last of a block's output: no more
        // than its pipes hold.
        let credit = usize::try_from(live.credit).unwrap_or(usize::MAX);
        let sent = if live.backpressure { length } else { length.min(credit) };
        let lost = std::mem::replace(&mut live.lost, (length - sent) as u64);
        if sent == 0 {
            live.lost += lost;
            return Ok(());
        }
        live.credit = live.credit.saturating_sub(sent as u64);
        self.announce(id)?;
        let data = self.buffer[..sent].to_vec().into();
        Ok(self.link.send(&Reply::Live { run: id, stream, data, lost })?)
    }

    /// Output of what a run left behind is counted, and shown to who asked for it as long as the host keeps up.
    fn take_background(&mut self, id: u64, run: RunId, stream: Stream, length: usize) -> Handled {
        let Some(pipe) = self.pipes.get_mut(id).filter(|_| run < FIRST_OWN_RUN) else { return Ok(()) };
        pipe.untold += length as u64;
        if !self.link.has_room() {
            return Ok(());
        }
        let watched = self.session.as_ref().is_some_and(|session| session.watch_background);
        let data = if watched { self.buffer[..length].to_vec() } else { Vec::new() };
        let bytes = std::mem::take(&mut pipe.untold);
        Ok(self.link.send(&Reply::Background { run, stream, bytes, data: data.into() })?)
    }

    /// Tells the host that the block runs, unless it has been told.
    pub(super) fn announce(&mut self, run: RunId) -> Handled {
        let Some(Run { purpose: Purpose::Block(block), .. }) = self.runs.get_mut(&run) else { return Ok(()) };
        if block.announce_at.take().is_none() {
            return Ok(());
        }
        let (language, file) = (block.language.clone(), to_bytes(&block.path));
        Ok(self.link.send(&Reply::Started { run, language, file })?)
    }
}
