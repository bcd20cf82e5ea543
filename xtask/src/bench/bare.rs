//! The bare counterparts: a script in a file, run by `std::process` and nothing else.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::workbench::Result;

/// A saved script and what runs it.
pub(crate) struct Script {
    program: PathBuf,
    file: PathBuf,
    directory: TempDir,
}

impl Script {
    pub(crate) fn shell(code: &str) -> Result<Self> {
        Self::new(Path::new("/bin/sh"), code)
    }

    pub(crate) fn new(program: &Path, code: &str) -> Result<Self> {
        let directory = TempDir::with_prefix("stockade-bench-")?;
        let file = directory.path().join("script");
        fs::write(&file, code)?;
        Ok(Self { program: program.to_owned(), file, directory })
    }

    /// The command that runs it, without input or output.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(&self.file).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Spawns it and waits for its end.
    pub(crate) fn run(&self) -> Result<()> {
        succeed(&mut self.command())
    }
}

/// Runs the scripts at once, each `times` times on a thread of its own.
pub(crate) fn run_at_once(scripts: &[Script], times: usize) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> =
            scripts.iter().map(|script| scope.spawn(|| (0..times).try_for_each(|_| script.run()))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

/// Spawns `command` and waits for its end, which must be a success.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    finish(command.spawn()?)
}

pub(crate) fn finish(mut child: Child) -> Result<()> {
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(format!("a bare process ended with {status}").into()) }
}
