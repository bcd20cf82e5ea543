//! `stockade run`. Owns the way of a run: read the input, start a session, run the blocks, stop, sum up. How
//! a session starts is `start`'s part, what is printed `render`'s, and what is asked `confirm`'s.

use stockade::{BlockOutcome, CancellationToken, CodeBlock, Event, Session};

use crate::{
    args::RunArgs,
    confirm::{Answer, Prompt},
    error::{EXIT_CANCELLED, Error, exit_status},
    input::{self, SourcedBlock},
    render::{Renderer, show_note},
    report::Report,
    runtime, signals, start,
};

/// Runs what the command line asks for; the exit status.
pub(crate) fn run(args: &RunArgs) -> u8 {
    let mut renderer = Renderer::new(args.format());
    let mut finished = Vec::new();
    try_run(args, &mut renderer, &mut finished).unwrap_or_else(|error| {
        renderer.fail(&error, &finished);
        error.exit_status()
    })
}

/// As [`run`]; `finished` is filled with what had finished before an error.
fn try_run(args: &RunArgs, renderer: &mut Renderer, finished: &mut Vec<BlockOutcome>) -> Result<u8, Error> {
    let input = input::read(args)?;
    let prompt = args.confirm.then(Prompt::open).transpose()?;
    input.notes.iter().for_each(|note| show_note(note));
    renderer.plan(&input.blocks, args.work_dir.is_some());
    runtime::block_on(async {
        let token = signals::cancelled_by_signals()?;
        let session = start::session(args, &token).await?;
        let report = Report::new(session.info().clone());
        let mut run = Run { args, session: &session, token, prompt, renderer, report };
        let ran = run.blocks(&input.blocks).await;
        let report = run.report;
        // Also after a failure: what failed must not leave processes behind.
        let stopped = session.stop().await;
        if let Err(error) = ran.and(stopped.map_err(Error::from)).and_then(|()| renderer.finish(&report)) {
            *finished = report.blocks;
            return Err(error);
        }
        Ok(exit_status(report.exit_code))
    })?
}

/// A run in its session.
struct Run<'a> {
    args: &'a RunArgs,
    session: &'a Session,
    token: CancellationToken,
    /// Asks before each block; `None` when nothing is to be asked any more.
    prompt: Option<Prompt>,
    renderer: &'a mut Renderer,
    report: Report,
}

impl Run<'_> {
    /// Runs the blocks in one call, or in one for each answer.
    async fn blocks(&mut self, blocks: &[SourcedBlock]) -> Result<(), Error> {
        let mut next = 0;
        while next < blocks.len() {
            let end = match self.ask(&blocks[next], next, blocks.len()).await? {
                Answer::Run => next + 1,
                Answer::RunAll => blocks.len(),
                Answer::Skip => {
                    next += 1;
                    continue;
                }
                Answer::Quit => {
                    self.report.exit_code = i32::from(EXIT_CANCELLED);
                    break;
                }
            };
            self.call(next, &blocks[next..end]).await?;
            if self.report.exit_code != 0 && !self.args.keep_going {
                break;
            }
            next = end;
        }
        Ok(())
    }

    async fn ask(&mut self, block: &SourcedBlock, index: usize, total: usize) -> Result<Answer, Error> {
        let Some(prompt) = &mut self.prompt else { return Ok(Answer::RunAll) };
        let answer = prompt.ask(block, &format!("{}/{total}", index + 1), &self.token).await?;
        if answer == Answer::RunAll {
            self.prompt = None;
        }
        Ok(answer)
    }

    /// Runs blocks that stand in the run from `first` on. Leaving early drops the events, which cancels the
    /// call.
    async fn call(&mut self, first: usize, blocks: &[SourcedBlock]) -> Result<(), Error> {
        let blocks: Vec<CodeBlock> = blocks.iter().map(|sourced| sourced.block.clone()).collect();
        // A block waits for a slow reader of ours, as it would in a pipeline, and nothing is left out.
        let call = self.session.call(blocks).cancellation_token(&self.token).backpressure(true);
        let mut events = call.events()?;
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Finished(result)) => self.report.add(result, first),
                Ok(event) => self.renderer.event(&counted_from(first, event))?,
                Err(error) => {
                    self.report.add_blocks(error.finished_blocks().to_vec(), first);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

/// The event with its block's number in the run, instead of in the call.
fn counted_from(first: usize, mut event: Event) -> Event {
    match &mut event {
        Event::BlockStarted { index, .. } | Event::Output { index, .. } | Event::OutputLost { index, .. } => {
            *index += first
        }
        Event::BlockFinished(outcome) => outcome.index += first,
        _ => {}
    }
    event
}
