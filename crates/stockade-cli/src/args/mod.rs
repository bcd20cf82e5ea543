//! The command line: what can be asked for, and what is refused before anything is done. Owns the flags,
//! their help and the reading of their values; those of a container are in `container`, and which flags go
//! with which place in `place`.

/// Sets each option that was given, once or for each time: fields of `args` that are setters of the builder too.
macro_rules! set_given {
    ($args:ident, $executor:ident, $($option:ident),* $(,)?) => {
        $(
            let given = $args.$option.iter().cloned();
            $executor = given.fold($executor, stockade::DockerCommandLineCodeExecutorBuilder::$option);
        )*
    };
}

mod container;
mod limits;
mod place;
mod sandbox;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{
    ArgGroup, Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use clap_complete::Shell;
use stockade::Sandbox;

pub(crate) use self::{
    container::{ContainerArgs, DockerArgs},
    limits::LimitArgs,
    place::parse,
    sandbox::SandboxArgs,
};

/// Runs code blocks, each in a new process, and tells what they did.
#[derive(Debug, Parser)]
#[command(name = "stockade", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the code blocks of Markdown files, a source file, or one block given as text
    Run(Box<RunArgs>),
    /// List the languages and what runs them on this machine, or in a container
    Languages(LanguagesArgs),
    /// Try out what this machine can do, and say how to fix what it can't
    Doctor(DoctorArgs),
    /// List the containers of sessions
    Ps(DaemonArgs),
    /// Remove the containers that nobody needs any more
    Prune(DaemonArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell that is to read it
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("input").required(true).args(["files", "code"]), override_usage = RUN_USAGE, after_help = RUN_NOTES)]
pub(crate) struct RunArgs {
    /// Markdown files, whose fenced blocks run in order, or source files; `-` reads Markdown from stdin
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// Run this code as one block; needs --language
    #[arg(short, long, value_name = "CODE", requires = "language", allow_hyphen_values = true)]
    pub(crate) code: Option<OsString>,

    /// The language of CODE; with FILE or `-`, take the whole input as one block of this language
    #[arg(short, long, value_name = "LANGUAGE", value_parser = parse_language)]
    pub(crate) language: Option<String>,

    /// Where the blocks run [default: local, or docker with --docker or --image]
    #[arg(long, value_enum)]
    executor: Option<Executor>,

    /// The directory where blocks are saved and run [default: a temporary one, removed at the end]
    #[arg(short, long, value_name = "DIR")]
    pub(crate) work_dir: Option<PathBuf>,

    /// How long a block may run: seconds, or a number with ms, s, m or h
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = parse_timeout, allow_negative_numbers = true)]
    pub(crate) timeout: Duration,

    /// Use this Python virtual environment; it is created when missing
    #[arg(long, value_name = "DIR")]
    pub(crate) venv: Option<PathBuf>,

    /// Set an environment variable for the blocks, or pass one through by its name alone; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = OsStringValueParser::new().try_map(parse_variable))]
    pub(crate) env: Vec<Variable>,

    /// Import these Python modules once, for all Python blocks to begin with: numpy,pandas
    #[arg(long, value_name = "MODULE", value_delimiter = ',')]
    pub(crate) preload: Vec<String>,

    /// Run the remaining blocks when one fails
    #[arg(long)]
    pub(crate) keep_going: bool,

    /// Show each block and ask before it runs
    #[arg(long)]
    pub(crate) confirm: bool,

    /// What to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    #[command(flatten)]
    sandbox: SandboxArgs,

    #[command(flatten)]
    pub(crate) limits: LimitArgs,

    #[command(flatten)]
    pub(crate) docker: DockerArgs,

    #[command(flatten)]
    pub(crate) container: ContainerArgs,
}

const RUN_USAGE: &str =
    "stockade run [OPTIONS] <FILE>...\n       stockade run [OPTIONS] -l <LANGUAGE> -c <CODE>";

/// One line a paragraph: clap wraps them to the terminal.
const RUN_NOTES: &str = "\
Exit status: that of the last block that ran; 124 when its time was up, 125 when it was cancelled, 127 when its \
interpreter is missing, 128+n when signal n ended it. 2 for wrong usage, 70 when Stockade itself failed.

With --format text, stdout carries only what the blocks print to stdout. On a terminal, control sequences other \
than colours and line editing are left out of it; a pipe or a file gets every byte.";

impl RunArgs {
    /// The sandbox for blocks on this machine; `None` where they are to run without.
    pub(crate) fn sandbox(&self) -> Result<Option<Sandbox>, String> {
        if self.sandbox.no_sandbox {
            return Ok(None);
        }
        self.sandbox.sandbox().and_then(|sandbox| self.limits.restrict(sandbox)).map(Some)
    }

    /// The format asked for, by either flag.
    pub(crate) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }

    /// Where the blocks run.
    pub(crate) fn executor(&self) -> Executor {
        let implied = if self.docker.is_asked_for() { Executor::Docker } else { Executor::Local };
        self.executor.unwrap_or(implied)
    }
}

#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub(crate) struct DoctorArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// The image to start a container of, if the daemon has it; nothing is pulled [default: python:3-slim]
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,

    /// The Docker daemon, as in DOCKER_HOST [default: DOCKER_HOST, the docker context, the usual sockets]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) docker_host: Option<String>,
}

const DOCTOR_HELP: &str = "The exit status is 0 when code can be run sandboxed in at least one way, 1 when it can be run \
only without a sandbox, and 70 when it can't be run at all.";

#[derive(Debug, Args)]
pub(crate) struct LanguagesArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) docker: DockerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,

    /// The Docker daemon, as in DOCKER_HOST [default: DOCKER_HOST, the docker context, the usual sockets]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) docker_host: Option<String>,
}

/// Where blocks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Executor {
    /// On this machine
    Local,
    /// In a container of their own
    Docker,
}

/// What `run` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The output of the blocks as it comes, and a summary on stderr
    Text,
    /// One object at the end
    Json,
    /// One event a line, the result last
    Jsonl,
}

/// An environment variable: name and value.
pub(crate) type Variable = (OsString, OsString);

fn parse_language(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a language can't be empty".to_owned()),
        language => Ok(language.to_owned()),
    }
}

/// A bound that no arithmetic with deadlines overflows.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reads `30`, `1.5`, `500ms`, `2m`, `1h`.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    const EXAMPLES: &str = "give seconds such as 30 or 1.5, or a number with ms, s, m or h";
    let text = text.trim();
    let unit_at = text.find(|sign: char| sign.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(EXAMPLES.to_owned()),
    };
    let number: f64 = number.trim_end().parse().map_err(|_| EXAMPLES.to_owned())?;
    let timeout = Duration::try_from_secs_f64(number * seconds_per_unit).map_err(|_| {
        if number > 0.0 {
            "that is too long; a year (8760h) is the most"
        } else {
            "a timeout must be more than 0"
        }
        .to_owned()
    })?;
    if timeout < Duration::from_millis(1) {
        return Err("a timeout must be at least 1ms".to_owned());
    }
    if timeout > LONGEST_TIMEOUT {
        return Err("that is too long; a year (8760h) is the most".to_owned());
    }
    Ok(timeout)
}

/// Reads `NAME=VALUE`, or `NAME`, whose value comes from the environment of this command.
fn parse_variable(text: OsString) -> Result<Variable, String> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = text.as_bytes();
    let Some(equals) = bytes.iter().position(|&byte| byte == b'=') else {
        return match std::env::var_os(&text) {
            _ if text.is_empty() => Err("a variable needs a name".to_owned()),
            Some(value) => Ok((text, value)),
            None => Err("it is not set in the environment; give NAME=VALUE to set it".to_owned()),
        };
    };
    if equals == 0 {
        return Err("a variable needs a name before the `=`".to_owned());
    }
    Ok((OsString::from_vec(bytes[..equals].to_vec()), OsString::from_vec(bytes[equals + 1..].to_vec())))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        let read = |text| parse_timeout(text).map(|timeout| timeout.as_millis());
        for (text, milliseconds) in [
            ("30", 30_000),
            ("1.5", 1_500),
            ("500ms", 500),
            ("2m", 120_000),
            ("2min", 120_000),
            ("10s", 10_000),
            ("1h", 3_600_000),
            (" 2 s ", 2_000),
            ("1e3", 0),
        ] {
            match milliseconds {
                0 => assert!(read(text).is_err(), "{text}"),
                _ => assert_eq!(read(text), Ok(milliseconds), "{text}"),
            }
        }
    }

    #[test]
    fn timeouts_that_make_no_sense_are_refused() {
        for text in
            ["0", "-1", "-0", "0ms", "0.1ms", "", "ms", "inf", "nan", "1d", "1m30s", "9e999", "abc", "1,5"]
        {
            assert!(parse_timeout(text).is_err(), "{text}");
        }
        assert!(parse_timeout(&"9".repeat(400)).is_err());
    }

    #[test]
    fn variables_split_at_the_first_equals_sign() {
        assert_eq!(parse_variable("A=b=c".into()), Ok(("A".into(), "b=c".into())));
        assert_eq!(parse_variable("A=".into()), Ok(("A".into(), "".into())));
        assert!(parse_variable("=b".into()).is_err());
        assert!(parse_variable("".into()).is_err());
    }
}
