//! A call that is followed while it runs.

use stockade::{Call, CommandLineCodeResult, Event, Events, Result, Stream};

use super::patiently;

/// A call, and what was heard of it.
pub(crate) struct Running {
    events: Events,
    stdout: Vec<u8>,
}

impl Running {
    /// Starts a call.
    pub(crate) fn new(call: Call<'_>) -> Self {
        Self { events: call.events().expect("the call is valid"), stdout: Vec::new() }
    }

    /// Starts a call and waits until its blocks have printed `text`.
    pub(crate) async fn until(call: Call<'_>, text: &str) -> Self {
        let mut running = Self::new(call);
        running.printed(text).await;
        running
    }

    /// Waits until the blocks have printed `text`.
    pub(crate) async fn printed(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.stdout).contains(text) {
            match self.next().await {
                Some(Ok(Event::Finished(result))) => panic!("ended without {text:?}: {}", result.output),
                Some(Ok(_)) => {}
                ended => panic!("ended without {text:?}: {ended:?}"),
            }
        }
    }

    /// Waits until a block's process runs.
    pub(crate) async fn started(&mut self) {
        while !matches!(self.next().await, Some(Ok(Event::BlockStarted { .. }))) {}
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Option<Result<Event>> {
        let event = patiently("an event of a call", self.events.next()).await;
        if let Some(Ok(Event::Output { stream: Stream::Stdout, data, .. })) = &event {
            self.stdout.extend_from_slice(data.as_bytes());
        }
        event
    }

    /// The next event of a call that prints too much to be kept here.
    pub(crate) async fn next_of_many(&mut self) -> Option<Result<Event>> {
        patiently("an event of a call", self.events.next()).await
    }

    /// Every event until the last.
    pub(crate) async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event.expect("Stockade does its part"));
        }
        events
    }

    /// What becomes of the call.
    pub(crate) async fn end(mut self) -> Result<CommandLineCodeResult> {
        loop {
            match self.next().await {
                Some(Ok(Event::Finished(result))) => return Ok(result),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => panic!("the last event is the result or an error"),
            }
        }
    }

    /// The result of a call that Stockade must not fail at.
    pub(crate) async fn result(self) -> CommandLineCodeResult {
        self.end().await.expect("Stockade does its part")
    }
}
