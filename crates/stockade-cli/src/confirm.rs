//! The prompt of --confirm. Owns the question, its answers and the terminal that they come from, which is the
//! controlling one: stdin may be the Markdown, and stdout a pipe. What it shows of a block is what will run:
//! characters that could hide code on a terminal are shown as escapes.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
};

use stockade::CancellationToken;
use tokio::sync::oneshot;

use crate::{error::Error, input::SourcedBlock, terminal::visible};

/// What is to be done with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Run it.
    Run,
    /// Leave it out and go on.
    Skip,
    /// Run it and all that follow.
    RunAll,
    /// Run nothing more.
    Quit,
}

/// The terminal on which questions are asked.
#[derive(Debug)]
pub(crate) struct Prompt {
    terminal: File,
}

impl Prompt {
    /// Opens the controlling terminal.
    pub(crate) fn open() -> Result<Self, Error> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty");
        Ok(Self { terminal: terminal.map_err(|source| Error::NoTerminal { source })? })
    }

    /// Shows the block and asks until there is an answer. A cancelled run answers for itself: it quits.
    pub(crate) async fn ask(
        &mut self,
        block: &SourcedBlock,
        place: &str,
        token: &CancellationToken,
    ) -> Result<Answer, Error> {
        self.say(&shown(block, place))?;
        loop {
            self.say(&format!("Run block {place}? [y]es, [N]o, [a]ll, [q]uit: "))?;
            let line = tokio::select! {
                line = self.read_line() => line?,
                () = token.cancelled() => return Ok(Answer::Quit),
            };
            match line.as_deref().map(answer) {
                None => return Ok(Answer::Quit),
                Some(Some(answer)) => return Ok(answer),
                Some(None) => {
                    self.say("y runs this block, n leaves it out, a runs it and all that follow, q stops\n")?
                }
            }
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Error> {
        self.terminal.write_all(text.as_bytes()).map_err(|source| Error::Terminal { source })
    }

    /// One line, or `None` at the end of input (Ctrl-D). The read has a thread of its own, for it can't be
    /// interrupted; when the run is cancelled, the thread ends with the process.
    async fn read_line(&self) -> Result<Option<String>, Error> {
        let lost = |source| Error::Terminal { source };
        let terminal = self.terminal.try_clone().map_err(lost)?;
        let (sender, receiver) = oneshot::channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            let read = BufReader::new(terminal).read_until(b'\n', &mut line).map(|_| line);
            let _ = sender.send(read);
        });
        let line =
            receiver.await.unwrap_or_else(|_| Err(io::ErrorKind::UnexpectedEof.into())).map_err(lost)?;
        Ok((!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned()))
    }
}

fn answer(line: &str) -> Option<Answer> {
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Some(Answer::Run),
        "" | "n" | "no" => Some(Answer::Skip),
        "a" | "all" => Some(Answer::RunAll),
        "q" | "quit" => Some(Answer::Quit),
        _ => None,
    }
}

/// The block as it is shown: its place, its language and its code, each line behind a bar that code can't
/// forge.
fn shown(block: &SourcedBlock, place: &str) -> String {
    let code = String::from_utf8_lossy(&block.block.code);
    let lines: String = code.lines().map(|line| format!("  | {}\n", visible(line))).collect();
    format!("\nBlock {place}, {} ({})\n{lines}", visible(&block.block.language), visible(&block.origin))
}

#[cfg(test)]
mod tests {
    use stockade::CodeBlock;

    use super::*;

    #[test]
    fn anything_but_a_clear_yes_does_not_run_the_block() {
        for line in ["\n", "n\n", "NO\n", " no \n"] {
            assert_eq!(answer(line), Some(Answer::Skip), "{line:?}");
        }
        for line in ["yep\n", "ja\n", "yy\n", "\u{1b}[A\n", "y n\n"] {
            assert_eq!(answer(line), None, "{line:?}");
        }
        assert_eq!(answer("Y\n"), Some(Answer::Run));
        assert_eq!(answer("all\n"), Some(Answer::RunAll));
        assert_eq!(answer("q"), Some(Answer::Quit));
    }

    #[test]
    fn code_that_hides_itself_on_a_terminal_is_shown() {
        let block = CodeBlock::new("sh", "rm -rf x #\r echo hi\x1b[2K\nls \u{202e}txt\n");
        let sourced = SourcedBlock { block, origin: "a.md:3".to_owned() };
        assert_eq!(
            shown(&sourced, "1/2"),
            "\nBlock 1/2, sh (a.md:3)\n  | rm -rf x #\\r echo hi\\u{1b}[2K\n  | ls \\u{202e}txt\n"
        );
    }
}
