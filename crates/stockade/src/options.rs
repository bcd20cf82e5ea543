//! Options that executors and calls share: their defaults, their setters and their checks. Each check says which
//! option it is about and what it takes.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, time::Duration};

use serde_bytes::ByteBuf;
use stockade_runner::wire::message::SessionSpec;

use crate::{
    Command, Functions, Language,
    error::{Error, Result},
    hint::Hints,
    preload,
    session::Defaults,
};

/// A block's default timeout, AutoGen's.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Enough for a caller who thinks between blocks.
const DEFAULT_SPARES: u32 = 1;
/// What the runner has at most: more would only hold memory.
const MAX_SPARES: u32 = 64;
/// What is kept of each of a block's streams by default.
const DEFAULT_OUTPUT_LIMIT: u64 = 1 << 20;
/// The most that can be asked to be kept: runner and host hold it in memory, several times over.
const MAX_OUTPUT_LIMIT: u64 = 64 << 20;

/// What sessions are started with wherever they run.
#[derive(Debug, Clone)]
pub(crate) struct SessionOptions {
    pub(crate) timeout: Duration,
    pub(crate) functions: Option<Functions>,
    pub(crate) env: Vec<(ByteBuf, ByteBuf)>,
    pub(crate) cleanup_temp_files: bool,
    pub(crate) output_limit: u64,
    pub(crate) keep_going: bool,
    pub(crate) merge_streams: bool,
    pub(crate) languages: Vec<Language>,
    pub(crate) spares: u32,
    pub(crate) preload: Vec<String>,
    pub(crate) teardown: bool,
}

impl SessionOptions {
    pub(crate) fn new(cleanup_temp_files: bool) -> Self {
        Self {
            timeout: DEFAULT_TIMEOUT,
            functions: None,
            env: Vec::new(),
            cleanup_temp_files,
            output_limit: DEFAULT_OUTPUT_LIMIT,
            keep_going: false,
            merge_streams: false,
            languages: Vec::new(),
            spares: DEFAULT_SPARES,
            preload: Vec::new(),
            teardown: false,
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_timeout(self.timeout)?;
        check_variables(&self.env)?;
        self.functions.as_ref().map_or(Ok(()), Functions::check)?;
        preload::check(&self.preload)?;
        self.languages.iter().try_for_each(check_language)?;
        if self.spares > MAX_SPARES {
            let why = format!("must be at most {MAX_SPARES}");
            return Err(Error::InvalidOption { option: "spares", why });
        }
        if self.output_limit > MAX_OUTPUT_LIMIT {
            let why = format!("must be at most {MAX_OUTPUT_LIMIT} bytes");
            return Err(Error::InvalidOption { option: "output_limit", why });
        }
        Ok(())
    }

    /// What was set of a variable for the code.
    pub(crate) fn variable(&self, wanted: &str) -> Option<OsString> {
        let set = self.env.iter().rev().find(|(name, _)| **name == *wanted.as_bytes());
        set.map(|(_, value)| OsString::from_vec(value.to_vec()))
    }

    /// What of them the runner is told at its start.
    pub(crate) fn spec(&self, workspace: ByteBuf) -> SessionSpec {
        SessionSpec {
            workspace,
            env: self.env.clone(),
            cleanup_temp_files: self.cleanup_temp_files,
            languages: self.languages.clone(),
            spares: self.spares,
            teardown: self.teardown,
            ..SessionSpec::default()
        }
    }

    /// What of them calls begin with.
    pub(crate) fn defaults(&self) -> Defaults {
        Defaults {
            timeout: self.timeout,
            keep_going: self.keep_going,
            merge_streams: self.merge_streams,
            backpressure: false,
            output_limit: self.output_limit,
            env: Vec::new(),
            discard_file: false,
            hints: Hints::default(),
        }
    }
}

/// The setters of [`SessionOptions`], for a builder whose options have them as `session`.
macro_rules! session_setters {
    () => {
        /// How long each block may take, a millisecond at least; 60 s by default.
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options.session.timeout = timeout;
            self
        }

        /// A Python module for the blocks to import. At start it is saved in the workspace, its packages are
        /// installed by pip, and it is loaded once.
        pub fn functions(mut self, functions: $crate::Functions) -> Self {
            self.options.session.functions = Some(functions);
            self
        }

        /// Sets a variable for the code.
        pub fn env(
            mut self,
            name: impl Into<std::ffi::OsString>,
            value: impl Into<std::ffi::OsString>,
        ) -> Self {
            let variable = ($crate::call::bytes(name.into()), $crate::call::bytes(value.into()));
            self.options.session.env.push(variable);
            self
        }

        /// How many bytes are kept of each of a block's streams, half from its beginning and half from its end: 1 MiB
        /// by default, 64 MiB at most. The block can print any amount.
        pub fn output_limit(mut self, bytes: u64) -> Self {
            self.options.session.output_limit = bytes;
            self
        }

        /// Whether blocks after one that fails are run all the same; false by default.
        pub fn keep_going(mut self, keep_going: bool) -> Self {
            self.options.session.keep_going = keep_going;
            self
        }

        /// Whether stdout and stderr share one pipe, so that their common order is exact; false by default.
        pub fn merge_streams(mut self, merge_streams: bool) -> Self {
            self.options.session.merge_streams = merge_streams;
            self
        }

        /// How many Python interpreters wait for blocks, once the session has run a Python block: 1 by default, 64 at most,
        /// each of some 10 MiB; 0 for none. A block gets one that has started while the caller was busy, for itself alone, and is spared
        /// the start.
        ///
        /// To the code it is as if `python FILE` had been called, with three exceptions: what lies above its own frames on
        /// the stack, the command line that other processes see, and that modules are not taken apart at its end, unless
        /// it leaves a file open or a thread running, or [`teardown`](Self::teardown) asks for it.
        pub fn spares(mut self, count: u32) -> Self {
            self.options.session.spares = count;
            self
        }

        /// Whether Python blocks whose interpreter had waited, or was forked, take their modules apart at their end, as those
        /// do that were started for them; false by default. It takes some milliseconds, and some eighty with pandas.
        ///
        /// Without it objects that modules hold are not told of the end: a `__del__` in a module is not called. What the
        /// block's own file defines, `atexit` handlers, threads and open files are seen to in any case.
        pub fn teardown(mut self, teardown: bool) -> Self {
            self.options.session.teardown = teardown;
            self
        }

        /// Python modules to import once, before the first block, for all blocks to begin with: a block that imports
        /// pandas then takes some milliseconds instead of hundreds. None by default.
        ///
        /// One process imports them, and each Python block that sets no environment of its own is a fork of it. Its random
        /// numbers are its own (`random` and `numpy.random` are seeded anew); the seed of hashes is that of all forks. What
        /// the modules print when they are imported is told to nobody. When a file of theirs changes, or one in the
        /// workspace that was imported with them, or a package is installed, all are imported anew.
        ///
        /// The import may take as long as a block. A module that can't be imported is an [`Error::Preload`] of the start.
        /// Modules that leave behind what no fork would have, or share it, are not used: threads, open files, child
        /// processes, shared memory, another current directory. [`SessionInfo::preload`] says so, and each block imports
        /// for itself.
        ///
        /// [`Error::Preload`]: crate::Error::Preload
        /// [`SessionInfo::preload`]: crate::SessionInfo::preload
        pub fn preload(mut self, modules: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.options.session.preload.extend(modules.into_iter().map(Into::into));
            self
        }

        /// Adds a language. One with the name or an alias of another takes that over.
        pub fn language(mut self, language: $crate::Language) -> Self {
            self.options.session.languages.push(language);
            self
        }
    };
}

pub(crate) use session_setters;

/// The longest timeout: what is longer is a mistake or means "never", and a clock can't count it.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

pub(crate) fn check_timeout(timeout: Duration) -> Result<()> {
    let invalid = |why: &str| Err(Error::InvalidOption { option: "timeout", why: why.to_owned() });
    match timeout {
        timeout if timeout < Duration::from_millis(1) => invalid("must be at least a millisecond"),
        timeout if timeout > LONGEST => invalid("must be at most ten years"),
        _ => Ok(()),
    }
}

/// Refuses what no process can be given: an empty name, `=` in a name, a NUL in either.
pub(crate) fn check_variables(variables: &[(ByteBuf, ByteBuf)]) -> Result<()> {
    for (name, value) in variables {
        let shown = String::from_utf8_lossy(name);
        let why = if name.is_empty() {
            "has a variable without a name".to_owned()
        } else if name.contains(&b'=') {
            format!("has a variable whose name has a `=` in it: {shown}")
        } else if name.contains(&0) || value.contains(&0) {
            format!("has a NUL byte in the variable {}", shown.replace('\0', "\\0"))
        } else {
            continue;
        };
        return Err(Error::InvalidOption { option: "env", why });
    }
    Ok(())
}

/// Refuses a command that is not told which file is the block's: it would run nothing of the block, which has no other
/// way to it.
fn check_language(language: &Language) -> Result<()> {
    let runs_nothing = |command: &&Command| !command.args.iter().any(|arg| arg.contains("{file}"));
    let Some(command) = language.commands.iter().find(runs_nothing) else { return Ok(()) };
    let why = format!(
        "has the language {} whose command `{}` has no `{{file}}` among its arguments, for which the block's file is put",
        language.name, command.program
    );
    Err(Error::InvalidOption { option: "languages", why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_between_a_millisecond_and_ten_years() {
        assert!(check_timeout(Duration::ZERO).is_err());
        assert!(check_timeout(Duration::MAX).is_err());
        assert!(check_timeout(Duration::from_millis(1)).is_ok());
        assert!(check_timeout(LONGEST).is_ok());
    }

    #[test]
    fn more_spares_than_there_can_be_are_refused() {
        let check = |spares| SessionOptions { spares, ..SessionOptions::new(true) }.check();
        assert!(check(MAX_SPARES + 1).is_err());
        assert!(check(MAX_SPARES).is_ok() && check(0).is_ok());
    }

    #[test]
    fn a_language_whose_command_is_not_told_the_file_is_refused() {
        let check = |language: Language| check_language(&language).map_err(|error| error.to_string());
        let upper = Language::new("upper", "up").command("cat", ["{file}"]).command("tr", ["a-z", "A-Z"]);
        assert!(check(upper).is_err_and(|why| why.contains("`tr` has no `{file}`")));
        assert!(check(Language::new("notes", "txt")).is_ok());
        let compiled = Command::new("cc", ["-o", "{binary}", "--source={file}"]);
        assert!(check(Language::new("c", "c").add_command(compiled)).is_ok());
    }

    #[test]
    fn a_variable_that_no_process_can_be_given_is_refused() {
        let check = |name: &str, value: &str| check_variables(&[(ByteBuf::from(name), ByteBuf::from(value))]);
        assert!(check("", "x").is_err());
        assert!(check("A=B", "x").is_err());
        assert!(check("A", "x\0").is_err());
        assert!(check("A", "x=y").is_ok());
    }
}
