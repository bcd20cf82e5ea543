//! The `stockade` command: runs the code blocks of Markdown files. Owns the command line, what is printed and
//! the exit status; running is the library's part.

mod args;
mod completions;
mod confirm;
mod containers;
mod doctor;
mod error;
mod input;
mod languages;
mod pull;
mod render;
mod report;
mod run;
mod runtime;
mod signals;
mod start;
mod table;
mod terminal;

use std::process::ExitCode;

use args::Command;

fn main() -> ExitCode {
    let status = match args::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Languages(args) => languages::languages(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Ps(args) => containers::ps(&args),
        Command::Prune(args) => containers::prune(&args),
        Command::Completions { shell } => completions::completions(shell),
    };
    ExitCode::from(status)
}
