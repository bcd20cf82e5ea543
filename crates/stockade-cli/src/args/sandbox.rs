//! The flags of the sandbox on this machine. Owns the words that `--sandbox` takes and what each asks for.

use std::path::{Component, Path, PathBuf};

use clap::{Args, ValueEnum};
use stockade::{Sandbox, SandboxLevel};

use super::limits::parse_size;

/// What blocks may see and do on this machine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox on this machine")]
pub(crate) struct SandboxArgs {
    /// What the sandbox is like, one or more words: by what it holds blocks back (auto, namespaces, landlock), strict,
    /// best-effort [default: auto]
    #[arg(long, value_enum, value_name = "WORD", value_delimiter = ',', hide_possible_values = true)]
    sandbox: Vec<Word>,

    /// Run without a sandbox: blocks have all of your rights
    #[arg(long, conflicts_with_all = ["sandbox", "allow_read", "allow_write", "workspace_size"])]
    pub(crate) no_sandbox: bool,

    /// Show blocks a file or directory, read-only; repeatable
    #[arg(long, value_name = "PATH")]
    allow_read: Vec<PathBuf>,

    /// Let blocks change a file or directory; repeatable
    #[arg(long, value_name = "PATH")]
    allow_write: Vec<PathBuf>,

    /// The most bytes of all files in the work directory, which blocks get a copy of: bytes, or a number with k, m or g
    #[arg(long, value_name = "SIZE", value_parser = parse_size, allow_negative_numbers = true)]
    workspace_size: Option<u64>,
}

/// What a sandbox can be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    /// The strongest level that works here
    Auto,
    /// Namespaces by bubblewrap, with Landlock and seccomp inside
    Namespaces,
    /// Landlock and seccomp alone
    Landlock,
    /// Nothing but the work directory and what the interpreters need
    Strict,
    /// Start with what this machine has, and say what is missing
    BestEffort,
}

impl Word {
    fn level(self) -> Option<SandboxLevel> {
        match self {
            Self::Auto => Some(SandboxLevel::Auto),
            Self::Namespaces => Some(SandboxLevel::Namespaces),
            Self::Landlock => Some(SandboxLevel::Landlock),
            Self::Strict | Self::BestEffort => None,
        }
    }
}

impl SandboxArgs {
    /// The sandbox that was asked for.
    pub(super) fn sandbox(&self) -> Result<Sandbox, String> {
        let mut levels: Vec<SandboxLevel> = self.sandbox.iter().filter_map(|word| word.level()).collect();
        levels.dedup();
        if let [first, second, ..] = levels[..] {
            return Err(format!("'--sandbox' takes one level, not {first} and {second}"));
        }
        let has = |word| self.sandbox.contains(&word);
        let mut sandbox = if has(Word::Strict) { Sandbox::strict() } else { Sandbox::default() };
        sandbox = levels.into_iter().fold(sandbox, Sandbox::level);
        sandbox = if has(Word::BestEffort) { sandbox.best_effort() } else { sandbox };
        for path in &self.allow_read {
            sandbox = sandbox.read_only(found(path, "--allow-read")?);
        }
        for path in &self.allow_write {
            sandbox = sandbox.read_write(found(path, "--allow-write")?);
        }
        Ok(self.workspace_size.into_iter().fold(sandbox, Sandbox::workspace_size))
    }

    /// A flag that means nothing without a sandbox.
    pub(super) fn flag(&self) -> Option<&'static str> {
        let given = [
            (!self.sandbox.is_empty(), "sandbox"),
            (!self.allow_read.is_empty(), "allow-read"),
            (!self.allow_write.is_empty(), "allow-write"),
            (self.workspace_size.is_some(), "workspace-size"),
            (self.no_sandbox, "no-sandbox"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, flag)| flag)
    }
}

/// The absolute path of what is there, by the name that was given: where that leads may be up to blocks, which the library
/// judges. Only the way upwards from the current directory is known.
fn found(path: &Path, flag: &str) -> Result<PathBuf, String> {
    let is_up = |part: &Component<'_>| matches!(part, Component::ParentDir | Component::CurDir);
    let up: PathBuf = Path::new(".").components().chain(path.components().take_while(is_up)).collect();
    let rest: PathBuf = path.components().skip_while(is_up).collect();
    let found = path.metadata().and_then(|_| up.canonicalize()).map(|up| up.join(rest));
    found.map_err(|error| format!("'{flag} {}' can't be shown: {error}", path.display()))
}
